"""Batch norm's statistics measured anew on many source slices.

Running averages reach back some ten batches. A lesion is few pixels of a few slices, and with statistics that swing
from batch to batch an outline cut at a probability of one half swings with them: at a learning rate near zero, the Dice
on held-out source slices went from 0.69 to 0.27 within an epoch (docs/method-adaptation.md). Measuring them anew at an
epoch's end (Wu and Johnson 2021, "precise batch norm") changes no weight.

Even then a network that learns with each batch's own statistics is used with others, and the longer it learns the more
that matters: after 12 epochs, the same source slices were outlined with a precision of 0.91 with their batch's
statistics and of 0.62 with the averages (docs/plus.md). So the statistics can be kept from some epoch on, in training
too ("frozen batch norm").
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ctseg.networks.modes import BATCH_NORM
from ctseg.segmentation.steps import Adaptation
from ctseg.training.settings import AdaptationSettings


def batch_norm_is_frozen(settings: AdaptationSettings, epoch: int) -> bool:
    """Whether batch norm keeps its statistics in this epoch (from 0)."""
    return 0 < settings.freeze_batch_norm_from <= epoch


@torch.no_grad()
def recalibrate(nets: Adaptation, batches: Iterable[Tensor]) -> None:
    """Set every batch norm's mean and variance to their averages over `batches`, each (B, 1, H, W) in [-1, 1].

    The network has to be in train mode. A teacher takes the student's statistics in its own time.
    """
    if not nets.settings.recalibrate_batch_norm:
        return
    norms = [part for part in nets.segmenter.modules() if isinstance(part, BATCH_NORM) and part.track_running_stats]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    try:
        for images in batches:
            with nets.autocast():
                nets.segmenter(images)
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
