"""Everything that is measured on one pair of masks."""

from __future__ import annotations

import numpy as np

from ctseg.errors import InputError
from ctseg.io.stack import Grid, Mask
from ctseg.metrics.lesions import lesion_metrics
from ctseg.metrics.surface import bounding_box, surface_metrics

NSD_TOLERANCE_MM = 2.0

DEFINITIONS = {
    "dice": "2 TP / (2 TP + FP + FN) over the voxels of a volume; 0 where one mask is empty, undefined where both are",
    "iou": "TP / (TP + FP + FN); empty masks as for Dice",
    "sensitivity": "TP / (TP + FN); undefined where the reference is empty",
    "precision": "TP / (TP + FP); undefined where the prediction is empty",
    "hd95_mm": "the larger of the two directed 95th percentiles of the distances between surface voxel centres, in mm "
    "on the true slice positions; surface = voxels with a face neighbour outside the mask; NaN where one is empty",
    "nsd": "share of the surface voxels of both masks that lie within the tolerance of the other surface; 0 where one "
    "mask is empty, undefined where both are",
    "pred_ml, ref_ml": "voxels x pixel area x the thickness each slice stands for (half the way to each neighbour "
    "along the normal)",
    "error_ml": "pred_ml - ref_ml; abs_error_ml without its sign",
    "lesions": "connected voxels (26 neighbours); found if one voxel of the reference lesion is predicted, made up if "
    "a predicted lesion holds no reference voxel; sizes < 1, 1-10, > 10 mL",
    "negative_slices, negative_slices_fp, negative_slices_ml": "slices without a voxel of the reference, and voxels "
    "and mL predicted on them",
    "dice_per_slice_released": "mean over all slices of (2 TP + 1) / (2 TP + FP + FN + 1): the released AMD-DAS code's "
    "variant, in which an empty slice left empty counts 1; not comparable with a Dice over volumes",
    "dice_per_slice_positive": "mean of 2 TP / (2 TP + FP + FN) over the slices with a voxel of the reference; "
    "undefined where there is none",
}


def confusion(pred: Mask, ref: Mask) -> tuple[int, int, int]:
    """True positive, false positive and false negative voxels."""
    true = int(np.count_nonzero(pred & ref))
    return true, int(np.count_nonzero(pred)) - true, int(np.count_nonzero(ref)) - true


def overlap_metrics(pred: Mask, ref: Mask) -> dict[str, float]:
    """Dice, IoU, sensitivity and precision by `DEFINITIONS`, and the voxel counts they come from."""
    tp, fp, fn = confusion(pred, ref)
    return {
        "dice": ratio(2 * tp, 2 * tp + fp + fn),
        "iou": ratio(tp, tp + fp + fn),
        "sensitivity": ratio(tp, tp + fn),
        "precision": ratio(tp, tp + fp),
        "tp": tp,
        "fp": fp,
        "fn": fn,
    }


def ratio(part: float, whole: float) -> float:
    """`part / whole`, NaN where there is no whole."""
    return part / whole if whole else float("nan")


def dice_per_slice_released(pred: Mask, ref: Mask, smooth: float = 1.0) -> float:
    """Mean over the slices of a (K, H, W) pair of the smoothed Dice, as the released AMD-DAS code computes it."""
    both = np.count_nonzero(pred & ref, axis=(1, 2))
    each = np.count_nonzero(pred, axis=(1, 2)) + np.count_nonzero(ref, axis=(1, 2))
    return float(np.mean((2 * both + smooth) / (each + smooth)))


def dice_per_slice_positive(pred: Mask, ref: Mask) -> float:
    """Mean Dice over the slices of a (K, H, W) pair that hold a voxel of the reference; NaN where none does."""
    positive = ref.any(axis=(1, 2))
    both = np.count_nonzero((pred & ref)[positive], axis=(1, 2))
    each = np.count_nonzero(pred[positive], axis=(1, 2)) + np.count_nonzero(ref[positive], axis=(1, 2))
    return float(np.mean(2 * both / each)) if positive.any() else float("nan")


def negative_slices(pred: Mask, ref: Mask, grid: Grid) -> dict[str, float]:
    """How many slices of (K, H, W) masks have no lesion in the reference, and the voxels and mL predicted on these."""
    without = ~ref.any(axis=(1, 2))
    made_up = np.count_nonzero(pred[without], axis=(1, 2))
    return {
        "negative_slices": int(without.sum()),
        "negative_slices_fp": int(made_up.sum()),
        "negative_slices_ml": float(made_up @ grid.voxel_ml[without]),
    }


def volume_metrics(
    pred: Mask, ref: Mask, grid: Grid, *, tolerance_mm: float = NSD_TOLERANCE_MM, min_lesion_ml: float = 0.0
) -> dict[str, float]:
    """All metrics of one volume, by `DEFINITIONS`.

    Args:
        pred: (K, H, W) predicted mask.
        ref: (K, H, W) reference mask.
        grid: their common geometry (`Grid.of(volume)`, or `Grid.even` for plain spacings).
        tolerance_mm: how far a surface may be off for NSD.
        min_lesion_ml: lesions smaller than this count nowhere in the lesion-wise counts.

    Raises:
        InputError: if the masks are not of one three-dimensional shape.
    """
    if pred.shape != ref.shape or pred.ndim != 3 or len(grid.slab_mm) != pred.shape[0]:
        raise InputError(
            f"masks of shapes {pred.shape} and {ref.shape} on {len(grid.slab_mm)} slices cannot be compared"
        )
    slices = pred.shape[0]
    pred, ref = _cropped(pred.astype(bool), ref.astype(bool))
    pred_ml, ref_ml = grid.volume_ml(pred), grid.volume_ml(ref)
    return {
        **overlap_metrics(pred, ref),
        **surface_metrics(pred, ref, grid, tolerance_mm),
        "pred_ml": pred_ml,
        "ref_ml": ref_ml,
        "error_ml": pred_ml - ref_ml,
        "abs_error_ml": abs(pred_ml - ref_ml),
        "dice_per_slice_released": dice_per_slice_released(pred, ref),
        "dice_per_slice_positive": dice_per_slice_positive(pred, ref),
        "slices": slices,
        **negative_slices(pred, ref, grid),
        **lesion_metrics(pred, ref, grid, min_lesion_ml),
    }


def _cropped(pred: Mask, ref: Mask) -> tuple[Mask, Mask]:
    """Both masks within the rows and columns that either fills: distances and counts stay, most voxels go."""
    box = bounding_box(pred | ref)
    if box is None:
        return pred[:, :1, :1], ref[:, :1, :1]
    return pred[:, box[1], box[2]], ref[:, box[1], box[2]]
