"""The terms that move the segmenter beside its loss on labels: adversaries (21, 22), and consistency with a teacher.

A term has a `name`, a `weight`, the first epoch (from 0) that it counts in, and `loss(batch)`. An adversary has a
`discriminator_step(batch)`, too. `steps.training_step` writes out the order of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ctseg.networks.discriminators import DomainDiscriminator
from ctseg.networks.gan_loss import decision_boundary
from ctseg.networks.intensity import checked_shape
from ctseg.networks.modes import frozen, frozen_batch_norm
from ctseg.networks.settings import GanForm
from ctseg.plugins.called import name_of
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.segmentation.batches import student_view
from ctseg.segmentation.losses import adversarial_loss, consistency_loss, discriminator_loss
from ctseg.segmentation.mean_teacher import (
    decay_at,
    filter_pseudo_labels,
    make_teacher,
    pseudo_labels,
    update_ema,
)
from ctseg.training.processes import average_gradients
from ctseg.training.settings import AdaptationSettings

Autocast = Callable[[], AbstractContextManager[Any]]
"""Makes a context manager for mixed precision."""


@dataclass
class Batch:
    """The slices of one step and, once the segmenter has seen them, its outputs."""

    images: Tensor
    """(B, 1, H, W) pseudo-CT, MR or labelled CT in [-1, 1], augmented."""
    masks: Tensor
    """(B, 1, H, W) 0/1 float."""
    target: Tensor | None
    """(B, 1, H, W) unlabelled CT in [-1, 1]; None where no term looks at it."""
    rng: np.random.Generator
    """Draws the student's view."""
    source_output: SegmenterOutput | None = None
    """On `images`; detached after the segmenter's update."""
    target_output: SegmenterOutput | None = None
    """On `target`, where there is an adversary; detached after the segmenter's update."""

    def detach(self) -> None:
        """Cut the outputs off from the segmenter, whose update is done."""
        outputs = (self.source_output, self.target_output)
        self.source_output, self.target_output = (
            item and SegmenterOutput(item.logits.detach(), item.hidden.detach()) for item in outputs
        )


class Term(Protocol):
    """One weighted term of the segmenter's objective."""

    @property
    def name(self) -> str:
        """Of the loss in `metrics.jsonl`."""
        ...

    @property
    def weight(self) -> float:
        """Of the loss in the segmenter's objective."""
        ...

    @property
    def first_epoch(self) -> int:
        """The first epoch (from 0) that it counts in."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """A scalar, unweighted."""
        ...


@dataclass(frozen=True)
class Adversary:
    """A discriminator that tells the source's maps from the target's, and its optimiser."""

    name: str
    """Of the segmenter's loss in `metrics.jsonl`."""
    weight: float
    discriminator: nn.Module
    discriminator_name: str
    """Of the discriminator's loss in `metrics.jsonl`."""
    optimiser: torch.optim.Optimizer
    maps: Callable[[SegmenterOutput], Tensor]
    """What the discriminator looks at: hidden maps, or lesion probabilities."""
    form: GanForm
    autocast: Autocast
    first_epoch: int = 0

    def loss(self, batch: Batch) -> Tensor:
        """Equation (22): the target's maps should pass for the source's. The discriminator is frozen."""
        assert batch.target_output is not None  # noqa: S101 - the step makes it wherever there is an adversary
        with self.autocast(), frozen(self.discriminator):
            logits = self.discriminator(self.maps(batch.target_output))
        return adversarial_loss(logits, self.form)

    def discriminator_step(self, batch: Batch) -> dict[str, Tensor]:
        """Equation (21): one update of the discriminator, source 1, target 0.

        Returns:
            Its loss, and its accuracy over positions, the mean of both domains; detached.
        """
        assert batch.source_output is not None  # noqa: S101 - as above
        assert batch.target_output is not None  # noqa: S101
        self.optimiser.zero_grad(set_to_none=True)
        with self.autocast():
            source = self.discriminator(self.maps(batch.source_output).detach())
            target = self.discriminator(self.maps(batch.target_output).detach())
        loss = discriminator_loss(source, target, self.form)
        loss.backward()
        average_gradients(self.discriminator.parameters())
        self.optimiser.step()
        accuracy = discriminator_accuracy(source, target, self.form)
        return {self.discriminator_name: loss.detach(), f"{self.discriminator_name}_accuracy": accuracy}

    def takes_for_source(self, output: SegmenterOutput) -> Tensor:
        """(B, 1, h, w) bool: positions that the discriminator takes for the source domain."""
        with torch.no_grad(), self.autocast():
            logits = self.discriminator(self.maps(output))
        real: Tensor = logits > decision_boundary(self.form)
        return real


def feature_adversary(
    channels: int, settings: AdaptationSettings, device: torch.device, autocast: Autocast
) -> Adversary | None:
    """D_seg, which looks at hidden maps of `channels`; None where `lambda_adv` is 0."""
    if not settings.lambda_adv:
        return None
    network, optimiser = _discriminator(channels, settings, device)
    return Adversary(
        "adversarial", settings.lambda_adv, network, "discriminator", optimiser,
        hidden_maps, settings.gan, autocast,
    )  # fmt: skip


def output_adversary(settings: AdaptationSettings, device: torch.device, autocast: Autocast) -> Adversary | None:
    """The same on lesion probabilities (Tsai et al. 2018); None where `lambda_adv_output` is 0."""
    if not settings.lambda_adv_output:
        return None
    network, optimiser = _discriminator(1, settings, device)
    return Adversary(
        "adversarial_output", settings.lambda_adv_output, network, "output_discriminator", optimiser,
        lesion_probabilities, settings.gan, autocast,
    )  # fmt: skip


def _discriminator(
    channels: int, settings: AdaptationSettings, device: torch.device
) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = DomainDiscriminator(channels, settings.discriminator_width, initialisation="pytorch")
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    rate, betas = settings.lr_discriminator, settings.betas_discriminator
    return network, torch.optim.Adam(network.parameters(), lr=rate, betas=betas)


def hidden_maps(output: SegmenterOutput) -> Tensor:
    """(B, C, h, w): what D_seg of equations (21) and (22) looks at."""
    return output.hidden


def lesion_probabilities(output: SegmenterOutput) -> Tensor:
    """(B, 1, H, W): what the adversary on outputs looks at."""
    return torch.sigmoid(output.logits)


def discriminator_accuracy(source_logits: Tensor, target_logits: Tensor, form: GanForm) -> Tensor:
    """Share of positions whose domain is recognised, the mean of both domains.

    The boundary of the logits is 0 for log, 0.5 for least squares.
    """
    boundary = decision_boundary(form)
    return 0.5 * ((source_logits > boundary).float().mean() + (target_logits <= boundary).float().mean())


@dataclass(frozen=True)
class Consistency:
    """The student should find in a masked view of a CT slice what the mean teacher finds in the whole slice."""

    segmenter: nn.Module
    """The student."""
    teacher: nn.Module
    settings: AdaptationSettings
    autocast: Autocast
    weight: float
    first_epoch: int
    """The first with pseudo-labels: before it the teacher finds too little."""
    name: str = "consistency"

    def loss(self, batch: Batch) -> Tensor:
        """Consistency of the student's prediction with the teacher's pseudo-labels where they are sure."""
        assert batch.target is not None  # noqa: S101 - the loop reads it wherever there is this term
        settings, target = self.settings, batch.target
        labels, weights = pseudo_labels(self.teacher, target, settings.pseudo_label_confidence, self.autocast)
        if settings.pseudo_label_contrast:
            labels, weights = filter_pseudo_labels(labels, weights, target, settings.pseudo_label_contrast)
        view, labels, weights = student_view(target, labels, weights, batch.masks, settings, batch.rng)
        with self.autocast(), frozen_batch_norm(self.segmenter, settings.freeze_batch_norm_on_target):
            logits = checked_shape(self.segmenter(view).logits, view, f"segmenter {name_of(self.segmenter)}")
        return consistency_loss(logits, labels, weights)

    def update_teacher(self, step: int) -> None:
        """One step of the teacher's running mean.

        Args:
            step: of the whole training, from 0; with `ema_warmup` the mean is over few steps at first.
        """
        decay = self.settings.ema_decay
        update_ema(self.teacher, self.segmenter, decay_at(step, decay) if self.settings.ema_warmup else decay)


def make_consistency(segmenter: nn.Module, settings: AdaptationSettings, autocast: Autocast) -> Consistency | None:
    """The term with a teacher that starts as a copy of the segmenter; None where `lambda_consistency` is 0."""
    if not settings.lambda_consistency:
        return None
    weight, first_epoch = settings.lambda_consistency, settings.consistency_from
    return Consistency(segmenter, make_teacher(segmenter), settings, autocast, weight, first_epoch)
