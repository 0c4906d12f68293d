"""Stage 2's two optimiser steps (equations 19 to 23), each with its own `zero_grad`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ctseg.networks.discriminators import DomainDiscriminator
from ctseg.networks.gan_loss import decision_boundary
from ctseg.networks.modes import frozen, frozen_batch_norm
from ctseg.networks.settings import GanForm
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.segmentation.losses import adversarial_loss, discriminator_loss, segmentation_loss
from ctseg.segmentation.mean_teacher import make_teacher
from ctseg.training.device import average_gradients
from ctseg.training.settings import AdaptationSettings


@dataclass(frozen=True)
class Adaptation:
    """The networks and optimisers of a run."""

    segmenter: nn.Module
    optimiser: torch.optim.Optimizer
    discriminator: nn.Module | None
    """D_seg; None where `lambda_adv` is 0."""
    discriminator_optimiser: torch.optim.Optimizer | None
    settings: AdaptationSettings
    autocast: Callable[[], AbstractContextManager[Any]]
    output_discriminator: nn.Module | None = None
    """Of lesion probabilities; None where `lambda_adv_output` is 0."""
    output_optimiser: torch.optim.Optimizer | None = None
    teacher: nn.Module | None = None
    """Running mean of the segmenter; None where `lambda_consistency` is 0."""

    @property
    def final(self) -> nn.Module:
        """The network that is validated and kept: the teacher where there is one."""
        return self.segmenter if self.teacher is None else self.teacher

    @property
    def needs_target(self) -> bool:
        """Whether any term looks at the target."""
        return any(part is not None for part in (self.discriminator, self.output_discriminator, self.teacher))

    @property
    def device(self) -> torch.device:
        """Where the segmenter is."""
        return next(self.segmenter.parameters()).device

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """The segmenter's, and one for each discriminator."""
        every = (self.optimiser, self.discriminator_optimiser, self.output_optimiser)
        return [item for item in every if item is not None]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """By name, for checks and checkpoints."""
        parts = {
            "segmenter": self.segmenter,
            "discriminator": self.discriminator,
            "output_discriminator": self.output_discriminator,
            "teacher": self.teacher,
        }
        return {name: module for name, module in parts.items() if module is not None}

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


def make_adaptation(
    segmenter: nn.Module,
    settings: AdaptationSettings,
    *,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
    seed: int,
) -> Adaptation:
    """Put the segmenter on the device; make D_seg and the others, if any, with first weights from `seed`."""
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    segmenter.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    discriminator = output_discriminator = None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if settings.lambda_adv > 0:
            discriminator = DomainDiscriminator(int(segmenter.hidden_channels), settings.discriminator_width)  # type: ignore[arg-type]
            discriminator.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        if settings.lambda_adv_output > 0:
            output_discriminator = DomainDiscriminator(1, settings.discriminator_width)
            output_discriminator.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return Adaptation(
        segmenter,
        make_optimiser(segmenter, settings),
        discriminator,
        _judges_optimiser(discriminator, settings),
        settings,
        autocast,
        output_discriminator,
        _judges_optimiser(output_discriminator, settings),
        make_teacher(segmenter) if settings.lambda_consistency > 0 else None,
    )


def _judges_optimiser(discriminator: nn.Module | None, settings: AdaptationSettings) -> torch.optim.Optimizer | None:
    if discriminator is None:
        return None
    return torch.optim.Adam(
        discriminator.parameters(), lr=settings.lr_discriminator, betas=settings.betas_discriminator
    )


def make_optimiser(segmenter: nn.Module, settings: AdaptationSettings) -> torch.optim.Optimizer:
    """The segmenter's: SGD with momentum (paper 4.2.2), or Adam with PyTorch's betas."""
    if settings.optimiser == "adam":
        return torch.optim.Adam(segmenter.parameters(), lr=settings.lr)
    return torch.optim.SGD(segmenter.parameters(), lr=settings.lr, momentum=settings.momentum)


def adaptation_step(
    nets: Adaptation, source: Tensor, masks: Tensor, target: Tensor | None, extra: Extra | None = None
) -> dict[str, Tensor]:
    """One update of S, then one of D_seg on the same hidden maps, detached (paper 4.2.2).

    Args:
        nets: networks and optimisers; in train mode.
        source: (B, 1, H, W) pseudo-CT or MR in [-1, 1], augmented.
        masks: (B, 1, H, W) 0/1 float.
        target: (B, 1, H, W) CT in [-1, 1]; None without an adversary.
        extra: a term beyond the paper's that moves S along, given the target.

    Returns:
        Scalar losses, detached.
    """
    losses, source_output, target_output = segmenter_step(nets, source, masks, target, extra)
    if target_output is not None:
        losses |= discriminator_step(nets, source_output.hidden, target_output.hidden)
        losses |= output_step(nets, source_output.logits, target_output.logits)
    return losses


Extra = Callable[[Tensor], dict[str, tuple[float, Tensor]]]
"""Target slices -> name -> (weight, loss)."""


def segmenter_step(
    nets: Adaptation, source: Tensor, masks: Tensor, target: Tensor | None, extra: Extra | None = None
) -> tuple[dict[str, Tensor], SegmenterOutput, SegmenterOutput | None]:
    """Equation (19) moves S alone; gives the losses and the outputs for both domains, detached."""
    nets.optimiser.zero_grad(set_to_none=True)
    with nets.autocast():
        output = nets.segmenter(source)
    terms = {"segmentation": (1.0, segmentation_loss(output.logits, masks, nets.settings.loss))}
    target_output = None
    if target is not None and (nets.discriminator is not None or nets.output_discriminator is not None):
        target_output, adversarial = _adversarial_terms(nets, target)
        terms |= adversarial
    if target is not None and extra is not None:
        terms |= extra(target)
    torch.stack([weight * loss for weight, loss in terms.values()]).sum().backward()
    update(nets.segmenter, nets.optimiser, nets.settings.clip_gradient)
    return {name: loss.detach() for name, (_, loss) in terms.items()}, _detached(output), target_output


def _adversarial_terms(nets: Adaptation, target: Tensor) -> tuple[SegmenterOutput, dict[str, tuple[float, Tensor]]]:
    """Equation (22), and the same on the probabilities: what S does on CT should pass for the source's."""
    terms = {}
    with nets.autocast(), frozen_batch_norm(nets.segmenter, nets.settings.freeze_batch_norm_on_target):
        output = nets.segmenter(target)
    if nets.discriminator is not None:
        with nets.autocast(), frozen(nets.discriminator):
            judged = nets.discriminator(output.hidden)
        terms["adversarial"] = (nets.settings.lambda_adv, adversarial_loss(judged, nets.settings.gan))
    if nets.output_discriminator is not None:
        with nets.autocast(), frozen(nets.output_discriminator):
            judged = nets.output_discriminator(torch.sigmoid(output.logits))
        terms["adversarial_output"] = (nets.settings.lambda_adv_output, adversarial_loss(judged, nets.settings.gan))
    return _detached(output), terms


def _detached(output: SegmenterOutput) -> SegmenterOutput:
    return SegmenterOutput(output.logits.detach(), output.hidden.detach())


def discriminator_step(nets: Adaptation, source_hidden: Tensor, target_hidden: Tensor) -> dict[str, Tensor]:
    """Equation (21) moves D_seg alone: source 1, target 0. Also says how often it is right, each domain half."""
    if nets.discriminator is None or nets.discriminator_optimiser is None:
        return {}
    loss, source, target = _judge(nets, nets.discriminator, nets.discriminator_optimiser, source_hidden, target_hidden)
    return {"discriminator": loss, "discriminator_accuracy": discriminator_accuracy(source, target, nets.settings.gan)}


def output_step(nets: Adaptation, source_logits: Tensor, target_logits: Tensor) -> dict[str, Tensor]:
    """As `discriminator_step`, on lesion probabilities (Tsai et al. 2018)."""
    if nets.output_discriminator is None or nets.output_optimiser is None:
        return {}
    maps = torch.sigmoid(source_logits), torch.sigmoid(target_logits)
    return {"output_discriminator": _judge(nets, nets.output_discriminator, nets.output_optimiser, *maps)[0]}


def _judge(
    nets: Adaptation, judge: nn.Module, optimiser: torch.optim.Optimizer, source_maps: Tensor, target_maps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One update of a discriminator; its loss and its logits of both domains, detached."""
    optimiser.zero_grad(set_to_none=True)
    with nets.autocast():
        source, target = judge(source_maps.detach()), judge(target_maps.detach())
    loss = discriminator_loss(source, target, nets.settings.gan)
    loss.backward()
    update(judge, optimiser)
    return loss.detach(), source.detach(), target.detach()


def discriminator_accuracy(source_logits: Tensor, target_logits: Tensor, form: GanForm) -> Tensor:
    """Share of positions judged right, the mean of both domains; the boundary is 0 for log, 0.5 for least squares."""
    boundary = decision_boundary(form)
    return 0.5 * ((source_logits > boundary).float().mean() + (target_logits <= boundary).float().mean())


def update(module: nn.Module, optimiser: torch.optim.Optimizer, clip: float = 0.0) -> None:
    """Average the gradients over processes, clip their norm where asked, step."""
    average_gradients(module.parameters())
    if clip > 0:
        nn.utils.clip_grad_norm_(module.parameters(), clip)
    optimiser.step()
