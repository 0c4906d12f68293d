"""Pictures of an epoch: source slices with truth and prediction, CT slices with prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ctseg.render.sheet import grid_png
from ctseg.selection.validation import Validation, segment_slices
from ctseg.training.sampling import Rows

SAMPLES = 4
CAPTIONS = ("source, truth", "source, segmented", "CT", "CT, segmented")


def write_samples(path: Path, network: nn.Module, validation: Validation, train_rows: Rows) -> Path:
    """Write the picture, one line a pair of slices (which are not matched: it shows both domains side by side)."""
    source_rows = _source_samples(validation.source_masks, validation.slices.source_rows, train_rows)
    target_rows = _spread(validation.slices.target_rows)
    count = min(len(source_rows), len(target_rows))
    source, target = validation.source[source_rows[:count]], validation.target[target_rows[:count]]
    truth = validation.source_masks[source_rows[:count]]
    on_source = segment_slices(network, source, validation.autocast, validation.of_source)
    on_target = segment_slices(network, target, validation.autocast)
    rows = [[mr, mr, ct, ct] for mr, ct in zip(source, target, strict=True)]
    outlines = [[true, mr, None, ct] for true, mr, ct in zip(truth, on_source, on_target, strict=True)]
    return grid_png(path, rows, CAPTIONS, outlines)


def _source_samples(masks: NDArray[np.uint8], validation_rows: Rows, train_rows: Rows) -> Rows:
    """Up to 4 source rows, with a lesion and of the validation split where there are such."""
    rows = validation_rows if len(validation_rows) else train_rows
    with_lesion = [row for row in rows[:: max(1, len(rows) // 64)] if masks[row].any()]
    return _spread(np.array(with_lesion or rows, dtype=np.int64))


def _spread(rows: Rows) -> Rows:
    return rows[np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).round().astype(np.int64)]
