"""The built-in metrics, one entry each; a new one is one more entry in `METRICS`.

No import here is heavy, since `ctseg --help` loads plugins: arrays are looked at by `MaskPair` and by the modules that
are imported when a metric is measured.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ctseg.metrics import overlap
from ctseg.metrics.registry import (
    BY_VOLUME,
    BY_VOLUME_WITH_MEDIAN,
    EMPTY,
    NEGATIVE_CASES,
    PER_POSITIVE_SLICE,
    PER_SLICE,
    TOTAL,
    UNLIMITED,
    VOLUME_AGREEMENT,
    Metric,
    Ratio,
    pooled,
)

if TYPE_CHECKING:
    from ctseg.metrics.pair import MaskPair

SHARE = (0.0, 1.0)
MAIER_HEIN = "Maier-Hein, Reinke et al., Nat Methods 2024;21:195"
LESION_NAMES = {"tp": "True positive", "fp": "False positive", "fn": "False negative"}
LESION_SIZES = {"all": ("", ""), "small": ("_small", " under 1 mL"), "medium": ("_medium", " of 1 to 10 mL"),
                "large": ("_large", " over 10 mL")}  # fmt: skip
LESION_DEFINITIONS = {
    "tp": "connected reference lesions (26 neighbours) with at least one predicted voxel",
    "fp": "connected predicted lesions (26 neighbours) without a voxel of the reference",
    "fn": "connected reference lesions (26 neighbours) without a predicted voxel",
}


def _dice(pair: MaskPair) -> float:
    return overlap.dice(*pair.confusion)


def _iou(pair: MaskPair) -> float:
    return overlap.iou(*pair.confusion)


def _sensitivity(pair: MaskPair) -> float:
    tp, _, fn = pair.confusion
    return overlap.sensitivity(tp, fn)


def _precision(pair: MaskPair) -> float:
    tp, fp, _ = pair.confusion
    return overlap.precision(tp, fp)


def _hd95_mm(pair: MaskPair) -> float:
    from ctseg.metrics.surface import hd95_mm

    distances = pair.surface_distances_mm
    return float("nan") if distances is None else hd95_mm(*distances)


def _nsd(pair: MaskPair) -> float:
    from ctseg.metrics.surface import nsd

    distances = pair.surface_distances_mm
    if distances is None:
        return float("nan") if pair.pred_empty and pair.ref_empty else 0.0
    return nsd(*distances, pair.nsd_tolerance_mm)


def _pred_ml(pair: MaskPair) -> float:
    return pair.volumes_ml[0]


def _ref_ml(pair: MaskPair) -> float:
    return pair.volumes_ml[1]


def _error_ml(pair: MaskPair) -> float:
    pred_ml, ref_ml = pair.volumes_ml
    return pred_ml - ref_ml


def _abs_error_ml(pair: MaskPair) -> float:
    return abs(_error_ml(pair))


def _fp_ml(pair: MaskPair) -> float:
    return pair.grid.volume_ml(pair.pred & ~pair.ref)


def _count(pair: MaskPair, place: int) -> float:
    return pair.confusion[place]


def _slices(pair: MaskPair) -> float:
    return len(pair.pred)


def _negative_slices(pair: MaskPair) -> float:
    return int(pair.negative_slices.sum())


def _negative_slices_fp(pair: MaskPair) -> float:
    return int(pair.pred[pair.negative_slices].sum())


def _negative_slices_fp_ml(pair: MaskPair) -> float:
    return pair.grid.volume_ml(pair.pred & pair.negative_slices[:, None, None])


def _dice_per_slice_released(pair: MaskPair) -> float:
    return overlap.dice_per_slice(pair.pred, pair.ref, smooth=1.0)


def _dice_per_slice_positive(pair: MaskPair) -> float:
    positive = ~pair.negative_slices
    return (
        overlap.dice_per_slice(pair.pred[positive], pair.ref[positive], smooth=0.0) if positive.any() else float("nan")
    )


def _lesions(pair: MaskPair, kind: str, size: str) -> float:
    return pair.lesions[kind, size]


def _voxels(name: str, place: int, definition: str) -> Metric:
    return Metric(
        name, f"{LESION_NAMES[name]} voxels", partial(_count, place=place), definition,
        unit="voxels", better="higher" if name == "tp" else "lower", summaries=(TOTAL,), listed=False,
    )  # fmt: skip


def _lesion_count(kind: str, size: str) -> Metric:
    ending, words = LESION_SIZES[size]
    return Metric(
        f"lesions_{kind}{ending}",
        f"{LESION_NAMES[kind]} lesions{words}",
        partial(_lesions, kind=kind, size=size),
        LESION_DEFINITIONS[kind] + words,
        unit="lesions",
        better="higher" if kind == "tp" else "lower",
        reference=MAIER_HEIN if size == "all" else "",
        summaries=(TOTAL,),
        listed=size == "all",
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        "dice",
        "Dice",
        _dice,
        "2 TP / (2 TP + FP + FN) over the voxels of the volume",
        range=SHARE,
        better="higher",
        undefined=("both",),
        reference="Dice, Ecology 1945;26:297",
        summaries=(pooled({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1}), BY_VOLUME_WITH_MEDIAN),
    ),
    Metric(
        "iou",
        "IoU",
        _iou,
        "TP / (TP + FP + FN)",
        range=SHARE,
        better="higher",
        undefined=("both",),
        reference="Jaccard, New Phytol 1912;11:37",
        listed=False,
    ),
    Metric(
        "sensitivity",
        "Voxel sensitivity",
        _sensitivity,
        "TP / (TP + FN)",
        range=SHARE,
        better="higher",
        undefined=("both", "reference"),
        reference=MAIER_HEIN,
        summaries=(BY_VOLUME, pooled({"tp": 1}, {"tp": 1, "fn": 1})),
        listed=False,
    ),
    Metric(
        "precision",
        "Voxel precision",
        _precision,
        "TP / (TP + FP)",
        range=SHARE,
        better="higher",
        undefined=("both", "prediction"),
        reference=MAIER_HEIN,
        summaries=(BY_VOLUME, pooled({"tp": 1}, {"tp": 1, "fp": 1})),
        listed=False,
    ),
    Metric(
        "nsd",
        "NSD",
        _nsd,
        "share of the surface voxels of both masks that lie within the tolerance (`nsd_tolerance_mm`) of the other "
        "surface",
        range=SHARE,
        better="higher",
        undefined=("both",),
        reference="Nikolov et al., arXiv 1809.04430",
    ),
    Metric(
        "hd95_mm",
        "HD95",
        _hd95_mm,
        "the larger of the two directed 95th percentiles of the distances between surface voxels",
        unit="mm",
        better="lower",
        undefined=EMPTY,
        reference="Huttenlocher et al., IEEE TPAMI 1993;15:850, as in MONAI",
        summaries=(BY_VOLUME_WITH_MEDIAN,),
    ),
    Metric(
        "ref_ml",
        "Reference volume",
        _ref_ml,
        "sum over the voxels of pixel area × the slab thickness of their slice (half the distance to each "
        "neighbour, along the normal)",
        unit="mL",
        summaries=(TOTAL,),
    ),
    Metric(
        "pred_ml",
        "Predicted volume",
        _pred_ml,
        "as `ref_ml`, of the prediction",
        unit="mL",
        summaries=(TOTAL,),
    ),
    Metric(
        "error_ml",
        "Volume error",
        _error_ml,
        "`pred_ml` − `ref_ml`",
        unit="mL",
        range=(-UNLIMITED, UNLIMITED),
        reference="Bland and Altman, Lancet 1986;327:307",
        summaries=(VOLUME_AGREEMENT,),
    ),
    Metric(
        "abs_error_ml",
        "Absolute volume error",
        _abs_error_ml,
        "`error_ml` without its sign",
        unit="mL",
        better="lower",
        summaries=(VOLUME_AGREEMENT,),
        listed=False,
    ),
    Metric(
        "fp_ml",
        "False-positive volume",
        _fp_ml,
        "mL predicted outside the reference",
        unit="mL",
        better="lower",
        summaries=(NEGATIVE_CASES,),
        listed=False,
    ),
    _voxels("tp", 0, "voxels in both masks"),
    _voxels("fp", 1, "voxels of the prediction alone"),
    _voxels("fn", 2, "voxels of the reference alone"),
    Metric("slices", "Slices", _slices, "slices of the volume", unit="slices", summaries=(TOTAL,), listed=False),
    Metric(
        "negative_slices",
        "Negative slices",
        _negative_slices,
        "slices without a voxel of the reference",
        unit="slices",
        summaries=(TOTAL,),
        listed=False,
    ),
    Metric(
        "negative_slices_fp",
        "False positive voxels on negative slices",
        _negative_slices_fp,
        "voxels predicted on slices without a voxel of the reference",
        unit="voxels",
        better="lower",
        summaries=(TOTAL,),
        listed=False,
    ),
    Metric(
        "negative_slices_fp_ml",
        "False-positive volume on negative slices",
        _negative_slices_fp_ml,
        "mL predicted on slices without a voxel of the reference",
        unit="mL",
        better="lower",
        summaries=(
            Ratio("per_100_negative_slices", "per 100 slices", {"negative_slices_fp_ml": 100}, {"negative_slices": 1}),
        ),
        listed=False,
    ),
    Metric(
        "dice_per_slice_released",
        "Dice per slice as in the released code",
        _dice_per_slice_released,
        "mean over the slices of (2 TP + 1) / (2 TP + FP + FN + 1); a slice without a lesion in either mask counts 1",
        range=SHARE,
        better="higher",
        reference="the released AMD-DAS code",
        summaries=(PER_SLICE,),
        listed=False,
    ),
    Metric(
        "dice_per_slice_positive",
        "Dice per slice",
        _dice_per_slice_positive,
        "mean of 2 TP / (2 TP + FP + FN) over the slices with a lesion in the reference",
        range=SHARE,
        better="higher",
        undefined=("both", "reference"),
        reference="Dice, Ecology 1945;26:297",
        summaries=(PER_POSITIVE_SLICE,),
        listed=False,
    ),
    *(_lesion_count(kind, size) for kind in LESION_NAMES for size in LESION_SIZES),
)
