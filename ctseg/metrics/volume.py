"""All metrics of one predicted mask and its reference."""

from __future__ import annotations

from collections.abc import Iterable

from ctseg.io.stack import Grid, Mask
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.pair import NSD_TOLERANCE_MM, MaskPair
from ctseg.metrics.registry import Metric


def volume_metrics(
    pred: Mask,
    ref: Mask,
    grid: Grid,
    *,
    metrics: Iterable[Metric] = METRICS,
    tolerance_mm: float = NSD_TOLERANCE_MM,
    min_lesion_ml: float = 0.0,
) -> dict[str, float]:
    """Name -> value of every metric of one volume; arguments and errors as for `MaskPair.of`."""
    pair = MaskPair.of(pred, ref, grid, tolerance_mm=tolerance_mm, min_lesion_ml=min_lesion_ml)
    return {metric.name: metric.value(pair) for metric in metrics}
