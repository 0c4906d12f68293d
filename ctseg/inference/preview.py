"""A picture of one case: the slices with the most lesion, its outline over the brain window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.inference.kind_slices import KINDS, NAMES
from ctseg.inference.label_tables import KIND_RGB, hex_colour
from ctseg.inference.millilitres import ml_text
from ctseg.inference.predict import Prediction
from ctseg.render.png import write_png
from ctseg.render.sheet import DARK, Layout, Tile, draw_sheet
from ctseg.render.slices import WINDOW_HU, Outline, side_letters, window_hu
from ctseg.render.solid import draw_solid
from ctseg.render.style import OUTLINE
from ctseg.wording import counted

TILES, COLUMNS = 6, 3
LAYOUT = Layout(DARK, side=312)
MARGIN_MM = 25.0
"""Around the brain: room for skull and letters, but not for the head holder."""


def write_pictures(folder: Path, case: str, prediction: Prediction, *, solid: bool) -> None:
    """Write `CASE.png` and, with `solid`, `3d/CASE.png`."""
    write_preview(folder / f"{case}.png", prediction)
    if solid:
        write_solid(folder / "3d" / f"{case}.png", prediction)


def write_preview(path: Path, prediction: Prediction) -> None:
    """Write a PNG: the six slices with the largest lesion area, or six through the brain where there is no lesion."""
    other = prediction.other_blood
    blood = prediction.mask if other is None else prediction.mask | (other.kinds > 0)
    chosen = slices_to_show(blood, prediction.brain)
    part, sides = _head_part(prediction), side_letters(prediction.volume)
    tiles = [_tile(prediction, index, part, sides) for index in chosen]
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    legend = [(OUTLINE, "segmentation" if other is None else "IPH")] if prediction.mask.any() else []
    legend += [(colour, NAMES[kind]) for kind, colour, _ in _kinds(prediction)]
    write_png(path, draw_sheet(rows, head=_title(prediction), legend=legend, layout=LAYOUT))


def write_solid(path: Path, prediction: Prediction) -> None:
    """Write a PNG: the lesion in the brain from the front, from the patient's left and from above."""
    write_png(path, draw_solid(prediction.volume, prediction.brain, prediction.mask))


def slices_to_show(mask: NDArray[np.bool_], brain: NDArray[np.bool_], count: int = TILES) -> list[int]:
    """Slice numbers from feet to head: up to `count` with the largest lesion area, else spread over the brain.

    A lesion on one or two slices is shown with its neighbours.
    """
    areas = np.count_nonzero(mask, axis=(1, 2))
    if areas.any():
        largest = [int(index) for index in np.argsort(-areas, kind="stable")[:count] if areas[index]]
        nearest = sorted(range(len(mask)), key=lambda index: abs(index - largest[0]))
        spare = [index for index in nearest if index not in largest]
        return sorted([*largest, *spare[: max(0, COLUMNS - len(largest))]])
    where = np.flatnonzero(brain.any(axis=(1, 2)))
    where = where if len(where) else np.arange(len(mask))
    places = np.linspace(0.2, 0.8, count) * (len(where) - 1)
    return sorted({int(where[round(place)]) for place in places})


def _head_part(prediction: Prediction) -> tuple[slice, slice]:
    """Rows and columns to show: the brain of all slices and a margin for the skull."""
    projection = prediction.brain.any(axis=0)
    spans = []
    for axis, spacing in enumerate(prediction.volume.spacing_mm):
        inside = np.flatnonzero(np.any(projection, axis=1 - axis))
        first, last = (int(inside[0]), int(inside[-1])) if len(inside) else (0, projection.shape[axis] - 1)
        margin = round(MARGIN_MM / spacing)
        spans.append(slice(max(0, first - margin), last + 1 + margin))
    return spans[0], spans[1]


def _tile(prediction: Prediction, index: int, part: tuple[slice, slice], sides: tuple[str, str]) -> Tile:
    volume = prediction.volume
    return Tile(
        window_hu(volume.voxels[index][part]),
        (
            Outline(prediction.mask[index][part]),
            *(Outline(mask[index][part], colour, inside=True) for _, colour, mask in _kinds(prediction)),
        ),
        f"slice {index + 1} of {len(volume.voxels)}",
        volume.spacing_mm,
        sides,
        scale_bar=True,
    )


def _kinds(prediction: Prediction) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Name, colour and mask of each kind of other blood that was found."""
    found = prediction.other_blood
    if found is None:
        return []
    return [
        (kind, hex_colour(KIND_RGB[kind]), found.kinds == value) for value, kind in KINDS.items() if found.ml[kind] > 0
    ]


def _other_words(prediction: Prediction) -> str:
    """`other blood (a hint): IVH 2.1 mL · `; empty where it was not asked for."""
    found = prediction.other_blood
    if found is None:
        return ""
    kinds = ", ".join(f"{kind.upper()} {ml_text(ml)}" for kind, ml in found.ml.items() if ml > 0)
    return f"other blood (a hint): {kinds or 'none'} · "


def _title(prediction: Prediction) -> str:
    measures = prediction.measures
    lesions = counted(measures.lesions, "lesion")
    found = f"{ml_text(measures.ml)} in {lesions}" if measures.lesions else "no haemorrhage segmented"
    window = f"window {WINDOW_HU[0]:.0f} to {WINDOW_HU[1]:.0f} HU"
    known = prediction.recovery.summary(prediction.expected_dice) + " · " if prediction.recovery is not None else ""
    return f"{prediction.volume.case_id} · {found} · {_other_words(prediction)}{known}{window} · research use only"
