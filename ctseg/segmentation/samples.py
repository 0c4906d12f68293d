"""Pictures of an epoch: source slices with truth and prediction, CT slices with prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.io.slices import SliceSet
from ctseg.networks.intensity import to_images
from ctseg.networks.modes import evaluating
from ctseg.render.sheet import grid_png
from ctseg.segmentation.steps import Adaptation
from ctseg.selection.rules import THRESHOLD
from ctseg.selection.validation import ValidationSlices, predict
from ctseg.training.sampling import Rows

SAMPLES = 4
CAPTIONS = ("source, truth", "source, found", "CT", "CT, found")


def choose_samples(source: SliceSet, validation: ValidationSlices, train_rows: Rows) -> tuple[Rows, Rows]:
    """Up to 4 source rows (with a lesion, of the validation split, where there are such) and 4 target rows."""
    rows = validation.source_rows if len(validation.source_rows) else train_rows
    masks = source.require_masks("samples show them")
    with_lesion = [row for row in rows[:: max(1, len(rows) // 64)] if masks[row].any()]
    return _spread(np.array(with_lesion or rows, dtype=np.int64)), _spread(validation.target_rows)


def _spread(rows: Rows) -> Rows:
    return rows[np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).round().astype(np.int64)]


def write_samples(
    path: Path, nets: Adaptation, source: SliceSet, target: SliceSet, source_rows: Rows, target_rows: Rows
) -> Path:
    """Write the picture, one line a pair of slices (which are not matched: it shows both domains side by side)."""
    count = min(len(source_rows), len(target_rows))
    on_source, on_target = source.images[source_rows[:count]], target.images[target_rows[:count]]
    truth = source.require_masks("samples show them")[source_rows[:count]]
    found_source, found_target = _outlines(nets, on_source), _outlines(nets, on_target)
    rows = [[mr, mr, ct, ct] for mr, ct in zip(on_source, on_target, strict=True)]
    outlines = [[true, mr, None, ct] for true, mr, ct in zip(truth, found_source, found_target, strict=True)]
    return grid_png(path, rows, CAPTIONS, outlines)


def _outlines(nets: Adaptation, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    with evaluating(nets.final):
        probabilities, _ = predict(nets, to_images(images, nets.device))
    return (probabilities >= THRESHOLD).astype(np.uint8)
