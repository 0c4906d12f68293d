"""A picture of example slices of a slice set, to check before a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.preprocess.cases import CaseSlices
from ctseg.render.png import write_png
from ctseg.render.sheet import Layout, Sizes, Tile, draw_sheet, outlined
from ctseg.render.style import OUTLINE, shorten

COLUMNS = 6
ROWS = 5
LAYOUT = Layout(side=192)


class Preview:
    """Keeps one slice each of the first cases, the one with the largest lesion or else the most brain."""

    def __init__(self) -> None:
        self.slices: list[tuple[str, NDArray[np.uint8], NDArray[np.uint8] | None]] = []

    def add(self, case: CaseSlices) -> None:
        """Look at one more case."""
        share = 1 if len(self.slices) else COLUMNS
        for row in _example_rows(case, share)[: COLUMNS * ROWS - len(self.slices)]:
            mask = None if case.masks is None else case.masks[row].copy()
            self.slices.append((str(case.table["slice_id"].iloc[row]), case.images[row].copy(), mask))

    def save(self, path: Path) -> None:
        """Write the PNG, atomically; lesions have a contour."""
        tiles = [_tile(*item) for item in self.slices]
        rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
        labelled = any(mask is not None and mask.any() for _, _, mask in self.slices)
        legend = [(OUTLINE, "lesion mask")] if labelled else []
        write_png(path, draw_sheet(rows, legend=legend, layout=LAYOUT))


def _example_rows(case: CaseSlices, count: int) -> list[int]:
    """`count` rows: spread over the volume for several, the one with most lesion (else most brain) for one."""
    if count > 1:
        return sorted(set(np.linspace(0, len(case.images) - 1, count).round().astype(int).tolist()))
    column = "lesion_px" if case.masks is not None else "brain_px"
    return [int(case.table[column].to_numpy().argmax())]


def _tile(name: str, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None) -> Tile:
    note = shorten(name, LAYOUT.side, Sizes.of(0).note)
    return Tile(image, outlined(mask), note, sides=("R", "L"))  # columns run from the patient's right to left
