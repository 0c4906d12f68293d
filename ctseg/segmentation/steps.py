"""One step of a segmenter's training: the segmenter first, then each discriminator on the same maps (19 to 23)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ctseg.networks.intensity import checked_shape
from ctseg.networks.modes import frozen_batch_norm
from ctseg.plugins.called import name_of
from ctseg.segmentation.losses import segmentation_loss
from ctseg.segmentation.source_normalisation import AS_THE_TARGET, SourceNormalisation, source_normalisation
from ctseg.segmentation.terms import (
    Adversary,
    Autocast,
    Batch,
    Consistency,
    Term,
    feature_adversary,
    make_consistency,
    output_adversary,
)  # fmt: skip
from ctseg.segmentation.weight_average import WeightAverage, make_average
from ctseg.training.graphs import RecordedStep, make_plain, recorded_step
from ctseg.training.processes import average_gradients
from ctseg.training.settings import AdaptationSettings, FinetuneSettings, SegmenterSettings
from ctseg.training.shared_batch_norm import share_batch_norm

FOLLOWING = ("teacher", "average")
"""Networks that no gradient moves: they stay in eval mode."""


@dataclass(frozen=True)
class SegmenterTraining:
    """The networks and optimisers of a training, and the terms beside the loss on labels."""

    segmenter: nn.Module
    optimiser: torch.optim.Optimizer
    settings: AdaptationSettings | FinetuneSettings
    device: torch.device
    autocast: Autocast
    adversary: Adversary | None = None
    """On hidden maps: D_seg; None where `lambda_adv` is 0."""
    output_adversary: Adversary | None = None
    """On lesion probabilities (Tsai et al. 2018); None where `lambda_adv_output` is 0."""
    consistency: Consistency | None = None
    """With the mean teacher; None where `lambda_consistency` is 0."""
    average: WeightAverage | None = None
    """Of the segmenter's weights; None where `weight_average` is 0."""
    freeze_batch_norm_on_target: bool = True
    """In the adversaries' pass over CT, batch norm uses the source's running statistics (released code)."""
    of_source: SourceNormalisation = AS_THE_TARGET
    """What source images go through before any network sees them."""

    @cached_property
    def adversaries(self) -> tuple[Adversary, ...]:
        """Those that there are."""
        return tuple(item for item in (self.adversary, self.output_adversary) if item is not None)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """Beside the loss on labels, in the order in which they see the batch."""
        return self.adversaries if self.consistency is None else (*self.adversaries, self.consistency)

    @property
    def final(self) -> nn.Module:
        """The network that is validated and kept: the mean teacher or the averaged weights, where there is one."""
        if self.consistency is not None:
            return self.consistency.teacher
        return self.segmenter if self.average is None else self.average.network

    @property
    def source_networks(self) -> tuple[nn.Module, ...]:
        """Those whose batch norm is recalibrated on the source: the segmenter and the averaged weights."""
        return (self.segmenter,) if self.average is None else (self.segmenter, self.average.network)

    @property
    def facts(self) -> dict[str, Any]:
        """What the header of the kept weights says of them beyond their epoch."""
        averaged = {} if self.average is None else {"weight_average": self.average.decay}
        return averaged | self.of_source.facts

    @cached_property
    def optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        """The segmenter's, and one for each discriminator."""
        return (self.optimiser, *(item.optimiser for item in self.adversaries))

    @cached_property
    def recorded(self) -> RecordedStep | None:
        """`training_step` as a CUDA graph, where every step does the same: a teacher's labels are looked at."""
        if any(term.first_epoch for term in self.terms) or self.consistency is not None:
            return None

        def step(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
            target = tensors[2] if len(tensors) > 2 else None
            return training_step(self, Batch(tensors[0], tensors[1], target, np.random.default_rng(0)))

        return recorded_step(step, self.optimisers, self.device)

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """By name, for checks and checkpoints."""
        parts = {"segmenter": self.segmenter}
        parts |= {item.discriminator_name: item.discriminator for item in self.adversaries}
        parts |= {} if self.consistency is None else {"teacher": self.consistency.teacher}
        return parts if self.average is None else {**parts, "average": self.average.network}

    def follow(self, step: int) -> None:
        """What follows the segmenter's weights does so, after a step (from 0) of the whole training."""
        if self.consistency is not None:
            self.consistency.update_teacher(step)
        if self.average is not None:
            self.average.update(step)

    def state_dict(self) -> dict[str, Any]:
        """All weights and optimiser states."""
        return {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        make_plain(self.optimisers)


def play_step(recorded: RecordedStep, batch: Batch, state: Hashable) -> dict[str, Tensor]:
    """`training_step`, played back; `state` is all else that it depends on."""
    target = () if batch.target is None else (batch.target,)
    return recorded((batch.images, batch.masks, *target), state)


def training_step(training: SegmenterTraining, batch: Batch, epoch: int = 0) -> dict[str, Tensor]:
    """One update of S, then one of each discriminator on the same maps, detached (paper 4.2.2).

    Args:
        training: in train mode.
        batch: its `target` may be None where there is no term.
        epoch: from 0; a term counts from its first epoch on.

    Returns:
        Scalar losses by name, detached, each as it was before its own update.
    """
    losses = segmenter_step(training, batch, epoch)
    for adversary in training.adversaries:
        losses |= adversary.discriminator_step(batch)
    return losses


def segmenter_step(training: SegmenterTraining, batch: Batch, epoch: int = 0) -> dict[str, Tensor]:
    """Equation (19) moves S alone; the batch keeps S's outputs, detached."""
    training.optimiser.zero_grad(set_to_none=True)
    with training.autocast():
        batch.source_output = training.segmenter(training.of_source(batch.images))
    name = f"segmenter {name_of(training.segmenter)}"
    checked_shape(batch.source_output.logits, batch.images, name)
    losses = {"segmentation": segmentation_loss(batch.source_output.logits, batch.masks, training.settings.loss)}
    if training.adversaries:
        with training.autocast(), frozen_batch_norm(training.segmenter, training.freeze_batch_norm_on_target):
            batch.target_output = training.segmenter(batch.target)
        checked_shape(batch.target_output.logits, cast(Tensor, batch.target), name)
    weighted = [losses["segmentation"]]
    for term in training.terms:
        if epoch >= term.first_epoch:
            losses[term.name] = term.loss(batch)
            weighted.append(term.weight * losses[term.name])
    torch.stack(weighted).sum().backward()
    average_gradients(training.segmenter.parameters())
    if training.settings.clip_gradient:
        nn.utils.clip_grad_norm_(training.segmenter.parameters(), training.settings.clip_gradient)
    training.optimiser.step()
    batch.detach()
    return {name: loss.detach() for name, loss in losses.items()}


def make_training(
    segmenter: nn.Module,
    settings: AdaptationSettings | FinetuneSettings,
    *,
    device: torch.device,
    autocast: Autocast,
    seed: int,
) -> SegmenterTraining:
    """Put the segmenter on the device, and make the terms that the settings weigh; D_seg's first weights are `seed`'s.

    `FinetuneSettings` have no term.
    """
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    segmenter.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    share_batch_norm(segmenter)
    optimiser = make_optimiser(segmenter, settings)
    if not isinstance(settings, AdaptationSettings):
        average = make_average(segmenter, settings)
        return SegmenterTraining(segmenter, optimiser, settings, device, autocast, average=average)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        on_hidden = feature_adversary(int(segmenter.hidden_channels), settings, device, autocast)  # type: ignore[arg-type]
        on_output = output_adversary(settings, device, autocast)
    share_batch_norm(*(item.discriminator for item in (on_hidden, on_output) if item is not None))
    consistency = make_consistency(segmenter, settings, autocast)
    return SegmenterTraining(
        segmenter, optimiser, settings, device, autocast, on_hidden, on_output, consistency,
        make_average(segmenter, settings),
        freeze_batch_norm_on_target=settings.freeze_batch_norm_on_target,
        of_source=source_normalisation(segmenter, settings),
    )  # fmt: skip


def make_optimiser(segmenter: nn.Module, settings: SegmenterSettings) -> torch.optim.Optimizer:
    """The segmenter's: SGD with momentum (paper 4.2.2), or Adam with PyTorch's betas."""
    if settings.optimiser == "adam":
        return torch.optim.Adam(segmenter.parameters(), lr=settings.lr)
    return torch.optim.SGD(segmenter.parameters(), lr=settings.lr, momentum=settings.momentum)
