"""Stage 2's two optimiser steps (equations 19 to 23), each with its own `zero_grad`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ctseg.adaptation.losses import adversarial_loss, discriminator_loss, segmentation_loss
from ctseg.networks.discriminators import DomainDiscriminator
from ctseg.training import average_gradients
from ctseg.training_settings import AdaptationSettings

NORMS = (nn.modules.batchnorm._BatchNorm,)


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

    @property
    def device(self) -> torch.device:
        """Where the segmenter is."""
        return next(self.segmenter.parameters()).device

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """One or two."""
        return [item for item in (self.optimiser, self.discriminator_optimiser) if item is not None]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """By name, for checks and checkpoints."""
        parts = {"segmenter": self.segmenter, "discriminator": self.discriminator}
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
    """Put the segmenter on the device; make D_seg, if any, with first weights from `seed`, and the optimisers."""
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    segmenter.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    discriminator = discriminator_optimiser = None
    if settings.lambda_adv > 0:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            discriminator = DomainDiscriminator(int(segmenter.hidden_channels), settings.discriminator_width)  # type: ignore[arg-type]
        discriminator.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        discriminator_optimiser = torch.optim.Adam(
            discriminator.parameters(), lr=settings.lr_discriminator, betas=settings.betas_discriminator
        )
    return Adaptation(
        segmenter, make_optimiser(segmenter, settings), discriminator, discriminator_optimiser, settings, autocast
    )


def make_optimiser(segmenter: nn.Module, settings: AdaptationSettings) -> torch.optim.Optimizer:
    """The segmenter's: SGD with momentum (paper 4.2.2), or Adam with PyTorch's betas."""
    if settings.optimiser == "adam":
        return torch.optim.Adam(segmenter.parameters(), lr=settings.lr)
    return torch.optim.SGD(segmenter.parameters(), lr=settings.lr, momentum=settings.momentum)


def adaptation_step(nets: Adaptation, source: Tensor, masks: Tensor, target: Tensor | None) -> dict[str, Tensor]:
    """One update of S, then one of D_seg on the same hidden maps, detached (paper 4.2.2).

    Args:
        nets: networks and optimisers; in train mode.
        source: (B, 1, H, W) pseudo-CT or MR in [-1, 1], augmented.
        masks: (B, 1, H, W) 0/1 float.
        target: (B, 1, H, W) CT in [-1, 1]; None without an adversary.

    Returns:
        Scalar losses, detached.
    """
    losses, source_hidden, target_hidden = segmenter_step(nets, source, masks, target)
    if target_hidden is not None:
        losses |= discriminator_step(nets, source_hidden, target_hidden)
    return losses


def segmenter_step(
    nets: Adaptation, source: Tensor, masks: Tensor, target: Tensor | None
) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
    """Equation (19) moves S alone; gives the losses and both hidden maps, detached."""
    nets.optimiser.zero_grad(set_to_none=True)
    with nets.autocast():
        output = nets.segmenter(source)
    segmentation = segmentation_loss(output.logits, masks, nets.settings.loss)
    losses, total, target_hidden = {"segmentation": segmentation.detach()}, segmentation, None
    if target is not None and nets.discriminator is not None:
        with (
            nets.autocast(),
            norms_frozen(nets.segmenter, nets.settings.freeze_norm_on_target),
            held(nets.discriminator),
        ):
            hidden = nets.segmenter(target).hidden
            judged = nets.discriminator(hidden)
        adversarial = adversarial_loss(judged, nets.settings.gan)
        losses["adversarial"], target_hidden = adversarial.detach(), hidden.detach()
        total = total + nets.settings.lambda_adv * adversarial
    total.backward()
    update(nets.segmenter, nets.optimiser, nets.settings.clip_gradient)
    return losses, output.hidden.detach(), target_hidden


def discriminator_step(nets: Adaptation, source_hidden: Tensor, target_hidden: Tensor) -> dict[str, Tensor]:
    """Equation (21) moves D_seg alone: source 1, target 0. Also says how often it is right, each domain half."""
    if nets.discriminator is None or nets.discriminator_optimiser is None:
        return {}
    nets.discriminator_optimiser.zero_grad(set_to_none=True)
    with nets.autocast():
        source, target = nets.discriminator(source_hidden.detach()), nets.discriminator(target_hidden.detach())
    loss = discriminator_loss(source, target, nets.settings.gan)
    loss.backward()
    update(nets.discriminator, nets.discriminator_optimiser)
    accuracy = discriminator_accuracy(source.detach(), target.detach(), nets.settings.gan)
    return {"discriminator": loss.detach(), "discriminator_accuracy": accuracy}


def discriminator_accuracy(source_logits: Tensor, target_logits: Tensor, form: str) -> Tensor:
    """Share of positions judged right, the mean of both domains; the boundary is 0 for log, 0.5 for least squares."""
    boundary = 0.5 if form == "lsq" else 0.0
    return 0.5 * ((source_logits > boundary).float().mean() + (target_logits <= boundary).float().mean())


def update(module: nn.Module, optimiser: torch.optim.Optimizer, clip: float = 0.0) -> None:
    """Average the gradients over processes, clip their norm where asked, step."""
    average_gradients(module.parameters())
    if clip > 0:
        nn.utils.clip_grad_norm_(module.parameters(), clip)
    optimiser.step()


@contextmanager
def norms_frozen(module: nn.Module, frozen: bool = True) -> Iterator[None]:
    """Batch norms in eval mode: the CT pass uses the source's running statistics and leaves them as they are."""
    norms = [part for part in module.modules() if isinstance(part, NORMS) and part.training] if frozen else []
    for norm in norms:
        norm.train(False)
    try:
        yield
    finally:
        for norm in norms:
            norm.train(True)


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Gradients flow through, none are kept for the module's own weights."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
