"""Overlap of two masks: the one place where a Dice, an IoU, a sensitivity and a precision are computed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ratio(part: float, whole: float) -> float:
    """`part / whole`, NaN where there is no whole."""
    return part / whole if whole else float("nan")


def defined(value: float) -> float | None:
    """`value`, or None where it is NaN: for JSON and for code that leaves undefined numbers out."""
    return None if math.isnan(value) else value


def dice(tp: float, fp: float, fn: float, *, smooth: float = 0.0) -> float:
    """Dice's coefficient (Dice, Ecology 1945;26:297) from counts.

    Args:
        tp: true positives, of any unit (voxels, lesions).
        fp: false positives.
        fn: false negatives.
        smooth: added to the numerator and the denominator.

    Returns:
        (2 TP + smooth) / (2 TP + FP + FN + smooth); NaN where that is 0 / 0.
    """
    return ratio(2 * tp + smooth, 2 * tp + fp + fn + smooth)


def iou(tp: float, fp: float, fn: float) -> float:
    """Intersection over union (Jaccard, New Phytol 1912;11:37): TP / (TP + FP + FN), NaN for 0 / 0."""
    return ratio(tp, tp + fp + fn)


def sensitivity(tp: float, fn: float) -> float:
    """Recall: TP / (TP + FN), NaN where there is nothing to find."""
    return ratio(tp, tp + fn)


def precision(tp: float, fp: float) -> float:
    """Positive predictive value: TP / (TP + FP), NaN where nothing is predicted."""
    return ratio(tp, tp + fp)


def confusion(pred: NDArray[Any], ref: NDArray[Any]) -> tuple[int, int, int]:
    """True positive, false positive and false negative elements of two masks of one shape; nonzero is foreground."""
    import numpy as np  # here, since `ctseg --help` lists metrics without numpy

    both = int(np.count_nonzero((pred != 0) & (ref != 0)))
    return both, int(np.count_nonzero(pred)) - both, int(np.count_nonzero(ref)) - both


def dice_of(pred: NDArray[Any], ref: NDArray[Any]) -> float:
    """Dice of two masks of one shape (equation 24), nonzero is foreground; NaN where both are empty."""
    return dice(*confusion(pred, ref))


def dice_per_slice(pred: NDArray[Any], ref: NDArray[Any], smooth: float = 1.0) -> float:
    """Mean over the slices of (K, H, W) masks of the smoothed Dice, as the released AMD-DAS code computes it.

    A slice that is empty in both masks counts 1.
    """
    values = [dice(*confusion(one, other), smooth=smooth) for one, other in zip(pred, ref, strict=True)]
    return sum(values) / len(values)
