"""The paper's Figures 4 and 5: what a similarity is made of, and each MR beside its nearest CT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.io.slices import SliceSet, open_slices
from ctseg.matching.fingerprint import low_frequencies, resize_matrix
from ctseg.matching.metrics import AmdMetric
from ctseg.matching.search import nearest
from ctseg.matching.settings import AmdMetricSettings
from ctseg.render.png import write_png
from ctseg.render.sheet import Tile, draw_sheet
from ctseg.render.slices import Outline
from ctseg.settings import resolve
from ctseg_reproduce.run import Request
from ctseg_reproduce.source_slices import brain_box, largest_lesions, spacing_mm
from ctseg_reproduce.table import TableFigure

NEAREST, SHOWN_MR = 3, 5
"""CT slices beside each MR, as in the paper; and how many MR."""
SMALL = 32
"""Side of the image that the fingerprint is taken of (8)."""
FINGERPRINT, PAIRS = "fingerprint", "pairs"
TRAINED_ON = "train"
"""The split whose slices are paired."""


def pairs_figure(request: Request, seed: int) -> TableFigure:
    """`TABLE-pairs.png`: one MR a column, over the CT slices that are nearest to it.

    Raises:
        CtsegError: if the slice sets are not there.
    """
    source, target = _sets(request, seed)
    rows, who = largest_lesions(source, SHOWN_MR, TRAINED_ON)
    columns = [
        [_source_tile(source, row), *(_target_tile(target, ct, f"CT {rank}: ") for rank, ct in enumerate(found, 1))]
        for row, found in zip(rows, nearest_ct(source, target, rows), strict=True)
    ]
    foot = (
        f"Seed {seed}. Columns: MR slices of {who}, in name order, each patient's slice with the largest lesion; no "
        "result was looked at. Orange: the MR mask. Below each: its nearest CT slices by the paper's similarity, "
        "nearest first. Stage 1 draws its targets from as large a share of the CT slices as the paper's 20."
    )
    path = request.root / f"{request.stem}-{PAIRS}.png"
    write_png(path, draw_sheet(list(zip(*columns, strict=True)), foot=foot))
    return TableFigure(path, "MR slices and their nearest CT slices", "As the paper's Figure 5.")


def nearest_ct(source: SliceSet, target: SliceSet, rows: list[int]) -> list[list[int]]:
    """For each MR row the rows of its nearest CT slices of the training split, nearest first."""
    metric, places = AmdMetric(), target.rows(TRAINED_ON)
    asked = np.asarray(rows)
    described = metric.describe(source.images[asked], source.require_masks("the lesion distance is of them")[asked])
    found, _ = nearest(metric, described, metric.describe(target.images[places], None), min(NEAREST, len(places)))
    return [[int(places[column]) for column in line] for line in found]


def fingerprint_figure(request: Request, seed: int) -> TableFigure:
    """`TABLE-fingerprint.png`: from one MR and its nearest CT to their distance, step by step.

    Raises:
        CtsegError: if the slice sets are not there.
    """
    source, target = _sets(request, seed)
    mr = largest_lesions(source, 1, TRAINED_ON)[0][0]
    ct = nearest_ct(source, target, [mr])[0][0]
    image, other = np.asarray(source.images[mr]), np.asarray(target.images[ct])
    lesion = source.require_masks("the lesion distance is of them")[mr] > 0
    threshold = resolve(AmdMetricSettings).threshold
    bits = [_bits(image), _bits(other)]
    bright = other > threshold
    differ = int((bits[0] != bits[1]).sum())
    lines = [
        [_source_tile(source, mr), *_steps(image, bits[0]), _mask_tile(lesion, "lesion: its mask")],
        [_target_tile(target, ct, "CT: "), *_steps(other, bits[1]), _mask_tile(bright, f"bright: above {threshold}")],
    ]
    foot = (
        f"Seed {seed}. {differ} of 64 bits differ (Hamming distance, equation 15). Areas of the two masks in pixels: "
        f"{int(lesion.sum())} and {int(bright.sum())} (lesion distance, equation 16). A bit is white where its "
        "coefficient is above the mean of the 64."
    )
    titles = ["slice", f"{SMALL} x {SMALL} (8)", "8 x 8 lowest frequencies (12)", "fingerprint (14)", "area (16)"]
    path = request.root / f"{request.stem}-{FINGERPRINT}.png"
    write_png(path, draw_sheet(lines, titles, foot=foot))
    return TableFigure(path, "How the similarity of a pair is calculated", "As the paper's Figure 4.")


def _steps(image: NDArray[np.uint8], bits: NDArray[np.bool_]) -> list[Tile]:
    rows, columns = (resize_matrix(size, SMALL) for size in image.shape)
    small = np.rint(rows @ image.astype(np.float64) @ columns.T).clip(0, 255).astype(np.uint8)
    low = low_frequencies(image[None], SMALL)[0]
    size = np.log1p(np.abs(low))
    return [
        Tile(_enlarged(small)),
        Tile(_enlarged(np.rint(255 * size / size.max()).astype(np.uint8) if size.max() else small[:8, :8])),
        Tile(_enlarged(np.where(bits, 255, 0).astype(np.uint8))),
    ]


def _bits(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(8, 8) the fingerprint of a slice, equation (14)."""
    low = low_frequencies(image[None], SMALL)[0]
    bits: NDArray[np.bool_] = low > low.mean()
    return bits


def _enlarged(image: NDArray[np.uint8], side: int = 256) -> NDArray[np.uint8]:
    """Each pixel as a square, so that the sheet does not blur them."""
    return np.kron(image, np.ones((side // len(image),) * 2, np.uint8))


def _mask_tile(mask: NDArray[np.bool_], note: str) -> Tile:
    return Tile(np.where(mask, 255, 0).astype(np.uint8), note=f"{note}, {int(mask.sum())} pixels")


def _source_tile(source: SliceSet, row: int) -> Tile:
    mask = source.require_masks("figures show them")[row] > 0
    box = brain_box(source.images[row])
    note = f"{source.table['patient_id'][row]}, slice {source.table['index'][row]}"
    return Tile(np.asarray(source.images[row])[box], (Outline(mask[box]),), f"MR: {note}", spacing_mm(source, row))


def _target_tile(target: SliceSet, row: int, name: str) -> Tile:
    image = np.asarray(target.images[row])
    note = f"{name}{target.table['patient_id'][row]}, slice {target.table['index'][row]}"
    return Tile(image[brain_box(image)], note=note, spacing_mm=spacing_mm(target, row))


def _sets(request: Request, seed: int) -> tuple[SliceSet, SliceSet]:
    """Source and target."""
    source, target = request.plan.inputs.of_seed(seed).source, request.plan.target(seed)[0]
    return open_slices(request.root / source), open_slices(request.root / target)
