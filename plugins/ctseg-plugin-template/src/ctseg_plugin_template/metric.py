"""A metric of `ctseg evaluate`: the F-score, which weighs missed voxels more or less than false positive ones."""

from __future__ import annotations

from functools import partial

from ctseg.metrics.overlap import ratio
from ctseg.metrics.pair import MaskPair
from ctseg.metrics.registry import BY_VOLUME, Metric, pooled


def make_metric(beta: float = 2.0) -> Metric:
    """The F-score of a `beta`; 1 is Dice."""
    weight = beta**2
    counts = {"tp": 1 + weight, "fp": 1.0, "fn": weight}
    return Metric(
        name="plugin-template",
        title=f"F{beta:g}-score",
        measure=partial(f_score, weight=weight),
        definition=f"{1 + weight:g} TP / ({1 + weight:g} TP + {weight:g} FN + FP)",
        range=(0.0, 1.0),
        better="higher",
        undefined=("both",),
        reference="van Rijsbergen, Information Retrieval, 1979",
        summaries=(BY_VOLUME, pooled({"tp": 1 + weight}, counts)),
    )


def f_score(pair: MaskPair, weight: float) -> float:
    """From the voxel counts of one pair of (K, H, W) masks; NaN where both are empty."""
    tp, fp, fn = pair.confusion
    return ratio((1 + weight) * tp, (1 + weight) * tp + weight * fn + fp)
