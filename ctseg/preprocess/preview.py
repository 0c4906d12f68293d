"""A picture of some of the slices of a slice set, to be looked at before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.files import write_with
from ctseg.preprocess.cases import CaseSlices

COLUMNS = 6
ROWS = 5


class Preview:
    """Keeps one slice each of the first cases, the one with the largest lesion or else the most brain."""

    def __init__(self) -> None:
        self.slices: list[tuple[str, NDArray[np.uint8], NDArray[np.uint8] | None]] = []

    def add(self, case: CaseSlices) -> None:
        """Look at one more case."""
        share = 1 if len(self.slices) else COLUMNS
        for row in _telling_rows(case, share)[: COLUMNS * ROWS - len(self.slices)]:
            mask = None if case.masks is None else case.masks[row].copy()
            self.slices.append((str(case.table["slice_id"].iloc[row]), case.images[row].copy(), mask))

    def save(self, path: Path) -> None:
        """Write the PNG, atomically; lesions are outlined."""
        from matplotlib.figure import Figure

        columns = min(COLUMNS, len(self.slices))
        rows = -(-len(self.slices) // columns)
        figure = Figure(figsize=(2 * columns, 2.15 * rows), layout="constrained")
        for axis, item in zip(figure.subplots(rows, columns, squeeze=False).ravel(), self.slices, strict=False):
            _show(axis, *item)
        for axis in figure.axes:
            axis.set_axis_off()
        write_with(path, lambda temporary: figure.savefig(temporary, dpi=100, format="png"))


def _telling_rows(case: CaseSlices, count: int) -> list[int]:
    """`count` rows: spread over the volume for several, the one with most lesion (else most brain) for one."""
    if count > 1:
        return sorted(set(np.linspace(0, len(case.images) - 1, count).round().astype(int).tolist()))
    column = "lesion_px" if case.masks is not None else "brain_px"
    return [int(case.table[column].to_numpy().argmax())]


def _show(axis, name: str, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None) -> None:  # type: ignore[no-untyped-def]
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    axis.set_title(name if len(name) <= 24 else "…" + name[-22:], fontsize=6)
    if mask is not None and mask.any():
        axis.contour(mask, [0.5], colors="#ff7f0e", linewidths=0.8)
