"""The losses of a segmenter, equations (20) to (22) and beyond, from logits.

The paper sums over positions; these are means over positions and slices, so that a loss, and the learning rate that
suits it, does not depend on image size or batch size. Where a loss divides sums over the batch, these are the sums over
the batches of all processes that train together.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ctseg.networks.gan_loss import gan_loss
from ctseg.networks.settings import GanForm
from ctseg.training.processes import total

SMOOTH = 1.0
"""Pixels added above and below the soft Dice: batches without a lesion then have a finite, small gradient."""


def segmentation_bce(logits: Tensor, masks: Tensor) -> Tensor:
    """Equation (20): pixel-wise cross-entropy of logits and 0/1 masks, both (B, 1, H, W), in nats per pixel."""
    return functional.binary_cross_entropy_with_logits(logits.float(), masks)


def soft_dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """One minus the Dice of probabilities and 0/1 masks, both (B, 1, H, W), pooled over the batch.

    After Milletari et al. 2016. Pooled, since most slices hold no or a small lesion, and one without any has no Dice.
    """
    return 1.0 - _soft_dice(torch.sigmoid(logits.float()), masks)


def _soft_dice(probabilities: Tensor, masks: Tensor, weights: Tensor | None = None) -> Tensor:
    """The Dice of probabilities and 0/1 masks over the batch; of masks where `weights` (0/1) let them count."""
    labels = masks if weights is None else masks * weights
    sums = total(torch.stack([(probabilities * masks).sum(), probabilities.sum() + labels.sum()]))
    return (2.0 * sums[0] + SMOOTH) / (sums[1] + SMOOTH)


def slice_dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """One minus the Dice of each slice that holds a lesion, their mean; 0 where none does.

    A lesion of 20 pixels weighs as much as one of 2000: for small lesions, which a Dice pooled over the batch drowns.
    """
    probabilities = torch.sigmoid(logits.float())
    overlap, truth = (probabilities * masks).sum(dim=(1, 2, 3)), masks.sum(dim=(1, 2, 3))
    loss = 1.0 - (2.0 * overlap + SMOOTH) / (probabilities.sum(dim=(1, 2, 3)) + truth + SMOOTH)
    has_lesion = (truth > 0).float()
    sums = total(torch.stack([(loss * has_lesion).sum(), has_lesion.sum()]))
    return sums[0] / sums[1].clamp(min=1.0)


SegmentationForm = Literal["bce", "bce+dice", "bce+dice+slice-dice"]


def segmentation_loss(logits: Tensor, masks: Tensor, form: SegmentationForm) -> Tensor:
    """`bce` is equation (20); the others add `soft_dice_loss` and `slice_dice_loss`, which the paper does not have."""
    loss = segmentation_bce(logits, masks)
    if "+dice" in form:
        loss = loss + soft_dice_loss(logits, masks)
    return loss + slice_dice_loss(logits, masks) if "slice-dice" in form else loss


def discriminator_loss(source_logits: Tensor, target_logits: Tensor, form: GanForm) -> Tensor:
    """Equation (21): D_seg tells source (1) from target (0); the mean over each domain, added."""
    return gan_loss(source_logits, True, form) + gan_loss(target_logits, False, form)


def adversarial_loss(target_logits: Tensor, form: GanForm) -> Tensor:
    """Equation (22): small where D_seg takes the target's hidden maps for the source's."""
    return gan_loss(target_logits, True, form)


def consistency_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy and one minus soft Dice between the student's logits and pseudo-labels, where those are sure.

    The Dice is pooled over the batch: lesions are few pixels, and cross-entropy alone would lose them.

    Args:
        logits: (B, 1, H, W), the student's.
        labels: (B, 1, H, W) 0/1.
        weights: (B, 1, H, W) 0/1, where the labels are sure.
    """
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    sums = total(torch.stack([(entropy * weights).sum(), weights.sum()]))
    mean = sums[0] / sums[1].clamp(min=1.0)
    return mean + 1.0 - _soft_dice(torch.sigmoid(logits) * weights, labels, weights)
