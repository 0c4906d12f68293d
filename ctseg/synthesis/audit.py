"""Measures after each epoch, on the same slices, whether lesions survive translation and whether the generator fails.

Every number comes from MR slices with their MR masks and from CT slices without any label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from ctseg.io.slices import SliceSet
from ctseg.matching.metrics import LESION_GREY, lesion_grey
from ctseg.metrics.overlap import defined, dice_of
from ctseg.networks.intensity import checked_shape, to_images, to_uint8
from ctseg.networks.modes import evaluating
from ctseg.plugins.called import name_of
from ctseg.training.sampling import Rows

RING = 4
"""Width in pixels of the tissue around a lesion that it is compared with."""
LEAST_SPREAD = 0.1
"""Below this share of the real CT's spread, pseudo-CT has collapsed."""
BATCH = 8


@dataclass(frozen=True)
class AuditSlices:
    """The audited slices: n of the source with a lesion, and as many of the target to compare with."""

    images: NDArray[np.uint8]
    """(n, H, W) MR."""
    masks: NDArray[np.uint8]
    """(n, H, W) 0/1."""
    real_ct: NDArray[np.uint8]
    """(m, H, W) CT."""
    threshold: int = LESION_GREY
    """Grey value above which matching takes a CT pixel for haemorrhage."""


def choose(source: SliceSet, target: SliceSet, source_rows: Rows, target_rows: Rows, count: int) -> AuditSlices:
    """`count` slices spread evenly over the source rows, those with a lesion if any has, and over the target rows."""
    rows = source_rows
    if source.masks is not None:
        with_lesion = [row for row in source_rows if source.masks[row].any()]
        rows = np.array(with_lesion, dtype=np.int64) if with_lesion else source_rows
    rows, ct_rows = spread(rows, count), spread(target_rows, count)
    images = np.asarray(source.images[rows])
    masks = np.asarray(source.masks[rows]) if source.masks is not None else np.zeros_like(images)
    return AuditSlices(images, masks, np.asarray(target.images[ct_rows]), lesion_grey(target.info["settings"]))


def spread(rows: Rows, count: int) -> Rows:
    """At most `count` of the rows, evenly over them."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64)
    return rows[places]


@dataclass(frozen=True)
class Translated:
    """The audit slices as the generator has them now."""

    pseudo_ct: NDArray[np.uint8]
    """(n, H, W)"""
    found: NDArray[np.bool_] | None
    """(n, H, W) where S_ori sees a lesion; None if the objective has no S_ori."""


def translate_audit(
    generator: nn.Module,
    lesion_net: nn.Module | None,
    slices: AuditSlices,
    autocast: Callable[[], Any],
    device: torch.device | str,
) -> Translated:
    """Run generator and S_ori over the audit slices, both in eval mode, and put them back as they were."""
    made, found = [], []
    nets = [net for net in (generator, lesion_net) if net is not None]
    with torch.no_grad(), autocast(), evaluating(*nets):
        for start in range(0, len(slices.images), BATCH):
            images = to_images(slices.images[start : start + BATCH], device)
            pseudo_ct = cast(Any, generator).to_target(images)
            checked_shape(pseudo_ct, images, f"generator {name_of(generator)}")
            made.append(to_uint8(pseudo_ct))
            if lesion_net is not None:
                found.append((lesion_net(pseudo_ct).logits[:, 0] > 0).cpu().numpy())
    return Translated(np.concatenate(made), np.concatenate(found) if found else None)


def measure(slices: AuditSlices, translated: Translated) -> dict[str, float]:
    """The audit's numbers; one that is not defined (no lesion, flat picture) is left out.

    `audit_dice_s_ori`, `audit_dice_threshold`: Dice with the MR mask of what S_ori finds, and of what matching takes
    for haemorrhage in pseudo-CT.
    `audit_contrast`: grey values by which pseudo-CT is brighter inside the mask than in the ring around it, mean over
    slices; `audit_brighter`: share of slices where it is brighter at all.
    `audit_brain`: grey values by which the brain is brighter than the background.
    `audit_correlation`: of pseudo-CT with MR inside the brain, lesion left out: in FLAIR as in CT grey matter is
    brighter than white and CSF darkest.
    `audit_spread`, `audit_diversity`: deviation within a slice's brain, and between slices at the same pixel, as shares
    of those of real CT.
    """
    pseudo_ct, masks = translated.pseudo_ct, slices.masks.astype(bool)
    brain = slices.images > 0
    numbers = {
        "audit_dice_s_ori": None if translated.found is None else defined(dice_of(translated.found, masks)),
        "audit_dice_threshold": defined(dice_of((pseudo_ct > slices.threshold) & brain, masks)),
        **contrast(pseudo_ct, masks, brain),
        "audit_brain": _difference(pseudo_ct, brain, ~brain),
        "audit_correlation": _correlation(pseudo_ct, slices.images, brain & ~masks),
        "audit_spread": _ratio(_spread_within(pseudo_ct, brain), _spread_within(slices.real_ct, slices.real_ct > 0)),
        "audit_diversity": _ratio(_spread_between(pseudo_ct), _spread_between(slices.real_ct)),
    }
    return {name: round(float(value), 5) for name, value in numbers.items() if value is not None}


def warnings(numbers: dict[str, float]) -> list[str]:
    """What a person should look at, one line each."""
    tests = {
        "collapse: pseudo-CT is nearly one grey value inside the brain": numbers.get("audit_spread", 1.0)
        < LEAST_SPREAD,
        "collapse: pseudo-CT is nearly the same for every slice": numbers.get("audit_diversity", 1.0) < LEAST_SPREAD,
        "inversion: pseudo-CT's background is brighter than its brain": numbers.get("audit_brain", 1.0) < 0,
        "inversion: pseudo-CT is darker where MR is brighter": numbers.get("audit_correlation", 0.0) < -LEAST_SPREAD,
        "inversion: most lesions are darker than what surrounds them": numbers.get("audit_brighter", 1.0) < 0.5,
    }
    return [text for text, bad in tests.items() if bad]


def contrast(images: NDArray[np.uint8], masks: NDArray[np.bool_], brain: NDArray[np.bool_]) -> dict[str, float | None]:
    """Inside minus ring, mean over the slices that have both, and the share of them where it is above 0."""
    differences = []
    for image, mask, inside in zip(images, masks, brain, strict=True):
        ring = ndimage.binary_dilation(mask, iterations=RING) & inside & ~mask
        differences.append(_difference(image, mask, ring))
    known = [value for value in differences if value is not None]
    if not known:
        return {"audit_contrast": None, "audit_brighter": None}
    return {"audit_contrast": float(np.mean(known)), "audit_brighter": float(np.mean([value > 0 for value in known]))}


def _difference(images: NDArray[Any], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float | None:
    if not first.any() or not second.any():
        return None
    return float(images[first].mean() - images[second].mean())


def _correlation(first: NDArray[Any], second: NDArray[Any], where: NDArray[np.bool_]) -> float | None:
    x, y = first[where].astype(np.float64), second[where].astype(np.float64)
    if len(x) < 2 or not x.std() or not y.std():
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _spread_within(images: NDArray[np.uint8], brain: NDArray[np.bool_]) -> float:
    deviations = [image[inside].std() for image, inside in zip(images, brain, strict=True) if inside.any()]
    return float(np.mean(deviations)) if deviations else 0.0


def _spread_between(images: NDArray[np.uint8]) -> float:
    return float(images.std(axis=0).mean()) if len(images) > 1 else 0.0


def _ratio(value: float, of: float) -> float | None:
    return value / of if of else None
