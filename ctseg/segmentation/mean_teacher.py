"""Self-training on unlabelled CT: a mean teacher labels what it is sure of, the student learns it from hidden views.

The teacher is the running mean of the student (Tarvainen and Valpola 2017). It sees a CT slice whole, the student sees
it with patches hidden and with other grey values, and must still find the same (masked image consistency, Hoyer et al.
2023). None of this is in the paper.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctseg.augment.slices import BACKGROUND
from ctseg.segmentation.losses import SMOOTH


def make_teacher(segmenter: nn.Module) -> nn.Module:
    """A copy of the segmenter that no gradient moves, in eval mode for good."""
    return copy.deepcopy(segmenter).requires_grad_(False).eval()


@torch.no_grad()
def follow(teacher: nn.Module, segmenter: nn.Module, decay: float) -> None:
    """One step of the running mean: `teacher = decay * teacher + (1 - decay) * segmenter`; norm statistics alike."""
    student = segmenter.state_dict()
    for name, mine in teacher.state_dict().items():
        if mine.is_floating_point():
            mine.lerp_(student[name].to(mine.dtype), 1.0 - decay)
        else:
            mine.copy_(student[name])


@torch.no_grad()
def teach(
    teacher: nn.Module, target: Tensor, certainty: float, autocast: Callable[[], AbstractContextManager[Any]]
) -> tuple[Tensor, Tensor]:
    """What the teacher says of target slices (B, 1, H, W).

    Returns:
        0/1 labels and 0/1 weights, (B, 1, H, W) float: weight 1 where the label's probability is at least `certainty`.
    """
    with autocast():
        logits = teacher(target).logits
    probabilities = torch.sigmoid(logits.float())
    labels = (probabilities >= 0.5).float()
    return labels, (torch.maximum(probabilities, 1.0 - probabilities) >= certainty).float()


@torch.no_grad()
def gate(labels: Tensor, weights: Tensor, target: Tensor, contrast: float) -> tuple[Tensor, Tensor]:
    """Take back labels that are not bright enough for fresh blood; what is taken back is learnt from for certain.

    In each slice, pixels stay labelled that lie above half the way from the other brain's median to that of the label
    (half maximum, where an edge lies that the scanner has blurred), and none where that way is shorter than `contrast`.

    Args:
        labels: (B, 1, H, W) 0/1.
        weights: (B, 1, H, W) 0/1.
        target: (B, 1, H, W) CT in [-1, 1].
        contrast: least difference of the medians, as a share of the intensity range.

    Returns:
        New labels and weights.
    """
    kept = torch.zeros_like(labels)
    for place, (image, label) in enumerate(zip(target, labels > 0, strict=True)):
        rest = (image > BACKGROUND) & ~label
        if not label.any() or not rest.any():
            continue
        bright, usual = image[label].median(), image[rest].median()
        if bright - usual >= 2.0 * contrast:
            kept[place] = (label & (image > (bright + usual) / 2.0)).float()
    return kept, torch.maximum(weights, (labels > kept).float())


def consistency_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy and one minus soft Dice between the student's logits and the teacher's labels where it is sure.

    The Dice is pooled over the batch: lesions are few pixels, and cross-entropy alone would let them go.
    """
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    mean = (entropy * weights).sum() / weights.sum().clamp(min=1.0)
    probabilities = torch.sigmoid(logits) * weights
    overlap = (probabilities * labels).sum()
    return mean + 1.0 - (2.0 * overlap + SMOOTH) / (probabilities.sum() + (labels * weights).sum() + SMOOTH)
