"""The running mean of a segmenter's weights, which is validated and kept in place of the last weights.

Two trainings of the same settings end at other weights, and a mean over the last part of a training is less of an
accident than its last step (Polyak and Juditsky 1992; Izmailov et al. 2018). It changes no step of the training and
costs nothing when the model is used. Batch norm's running statistics are averaged, too; `recalibrate_batch_norm`
measures them for the averaged weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ctseg.segmentation.mean_teacher import decay_at, make_teacher, update_ema
from ctseg.training.settings import AdaptationSettings, FinetuneSettings


@dataclass(frozen=True)
class WeightAverage:
    """The network that holds the mean, and how it follows the segmenter."""

    segmenter: nn.Module
    """What is trained."""
    network: nn.Module
    """The same network with the mean's weights, in eval mode; no gradient moves it."""
    decay: float

    def update(self, step: int) -> None:
        """One step of the running mean.

        Args:
            step: of the whole training, from 0; at first the mean is over few steps, so that the first weights fade.
        """
        update_ema(self.network, self.segmenter, decay_at(step, self.decay))


def make_average(segmenter: nn.Module, settings: AdaptationSettings | FinetuneSettings) -> WeightAverage | None:
    """The mean, which starts as a copy of the segmenter; None where `weight_average` is 0 or a mean teacher is kept."""
    has_teacher = isinstance(settings, AdaptationSettings) and settings.lambda_consistency > 0
    if has_teacher or not settings.weight_average:
        return None
    return WeightAverage(segmenter, make_teacher(segmenter), settings.weight_average)
