"""Self-training on unlabelled CT: a mean teacher gives pseudo-labels, the student learns them from masked views.

The teacher is the running mean of the student (Tarvainen and Valpola 2017). It sees a CT slice whole; the student sees
it with patches masked and with other grey values, and should find the same (masked image consistency, Hoyer et al.
2023). None of this is in the paper.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ctseg.augment.slices import BACKGROUND
from ctseg.networks.intensity import checked_shape
from ctseg.plugins.called import name_of


def make_teacher(segmenter: nn.Module) -> nn.Module:
    """A copy of the segmenter that no gradient moves, in eval mode for good."""
    return copy.deepcopy(segmenter).requires_grad_(False).eval()


def decay_at(step: int, decay: float) -> float:
    """The running mean's decay in a step (from 0): it rises to `decay`, so that the mean is over the last steps alone.

    With one decay throughout, a teacher holds a share of the untrained weights for hundreds of steps, finds less than
    its student, and the student learns to find less, too. The rise is that of TensorFlow's ExponentialMovingAverage
    with `num_updates`: about the last tenth of the training so far counts, and from step 890 on it is 0.99.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(teacher: nn.Module, segmenter: nn.Module, decay: float) -> None:
    """One step of the running mean: `teacher = decay * teacher + (1 - decay) * segmenter`.

    Batch norm's statistics, too.
    """
    student = segmenter.state_dict()
    kept, new = [], []
    for name, mine in teacher.state_dict().items():
        if mine.is_floating_point():
            kept.append(mine)
            new.append(student[name].to(mine.dtype))
        else:
            mine.copy_(student[name])
    if kept:
        torch._foreach_lerp_(kept, new, 1.0 - decay)  # all tensors in a few kernels


@torch.no_grad()
def pseudo_labels(
    teacher: nn.Module, target: Tensor, confidence: float, autocast: Callable[[], AbstractContextManager[Any]]
) -> tuple[Tensor, Tensor]:
    """The teacher's prediction on target slices (B, 1, H, W) as labels.

    Returns:
        0/1 labels and 0/1 weights, (B, 1, H, W) float: weight 1 where the label's probability is at least `confidence`.
    """
    with autocast():
        logits = checked_shape(teacher(target).logits, target, f"segmenter {name_of(teacher)}")
    probabilities = torch.sigmoid(logits.float())
    labels = (probabilities >= 0.5).float()
    return labels, (torch.maximum(probabilities, 1.0 - probabilities) >= confidence).float()


@torch.no_grad()
def filter_pseudo_labels(labels: Tensor, weights: Tensor, target: Tensor, contrast: float) -> tuple[Tensor, Tensor]:
    """Remove pseudo-labels that are not bright enough for fresh blood; where they were, the label 0 counts as sure.

    In each slice, a labelled pixel keeps its label if it lies above the midpoint between the median of the label and
    that of the rest of the brain (half maximum, the place of a blurred edge). None keeps it where the two medians
    differ by less than `contrast`.

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
