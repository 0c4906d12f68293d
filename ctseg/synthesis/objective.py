"""The training objective of stage 1: AMD-DAS's own, and plain or mask-supervised CycleGAN as special cases of it.

One step updates the generator, then D_CT, D_MRI, D_fusion, S_ori and S_rec, each in a function of its own with its own
`zero_grad`; the fakes of the generator's pass are used again, detached. S_ori and S_rec minimise the very term that the
generator minimises, so one pass through each gives both gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ctseg.errors import SettingError
from ctseg.networks.discriminators import DomainDiscriminator, PatchGan
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.intensity import checked_shape
from ctseg.networks.modes import frozen
from ctseg.plugins.called import name_of
from ctseg.plugins.protocols import Batch, Domain, Objective, ObjectiveContext, has_features
from ctseg.synthesis import losses
from ctseg.synthesis.pool import ImagePool
from ctseg.training.graphs import make_plain
from ctseg.training.loop import set_lr_factor
from ctseg.training.processes import average_gradients
from ctseg.training.settings import SynthesisSettings

Losses = dict[str, Tensor]


def make_objective(generator: nn.Module, context: ObjectiveContext) -> Objective:
    """The generator's own objective if it brings one, else `CycleObjective`.

    Raises:
        SettingError: if the settings ask of the generator what it does not have.
    """
    own = getattr(generator, "objective", None)
    return cast(Objective, own(context)) if callable(own) else CycleObjective(generator, context)


@dataclass(frozen=True)
class Translation:
    """What one pass of both generators gives; images (B, 1, H, W), features (B, C, h, w) or None."""

    pseudo_ct: Tensor
    pseudo_mr: Tensor
    recon_mr: Tensor
    recon_ct: Tensor
    mr_features: Tensor | None
    ct_features: Tensor | None
    encoded: tuple[Tensor, Tensor] | None = None
    """What the fusion block got of MR and CT, where it is asked again after its update (`fda_features=after`)."""


class CycleObjective:
    """Equations (1) to (7). A weight of 0 leaves the helper networks of its term out.

    Raises:
        SettingError: if `lambda_fda` is set and the generator has no features, or no shared parameters to move.
    """

    def __init__(self, generator: nn.Module, context: ObjectiveContext) -> None:
        self.settings: SynthesisSettings = context.settings
        self.generator, self.autocast = cast(Any, generator), context.autocast
        check_features(generator, self.settings)
        self.helpers = {name: net.to(context.device) for name, net in _helpers(generator, context).items()}
        if self.settings.channels_last:
            for net in self.helpers.values():
                net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimisers = _optimisers(generator, self.helpers, self.settings)
        self.pools = {name: _pool(self.settings) for name in ("d_ct", "d_mr")}
        self.weights = _weights(self.settings)

    @property
    def recordable(self) -> bool:
        """Whether every step does the same: a pool of earlier fakes draws."""
        return not self.settings.image_pool

    def step(self, batch: Batch) -> Losses:
        """One update of everything; named losses, detached, each as it was before its own update."""
        lesions: Losses = {}
        made, named = self.generator_step(batch, lesions if "s_ori" in self.helpers else None)
        if "d_ct" in self.helpers:
            named |= self.discriminator_step("d_ct", batch.target, made.pseudo_ct)
            named |= self.discriminator_step("d_mr", batch.source, made.pseudo_mr)
        if "d_fusion" in self.helpers:
            named |= self.feature_step(made)
        for name, loss in lesions.items():
            named |= self._moved(name, loss)
        return named

    def generator_step(self, batch: Batch, lesions: Losses | None = None) -> tuple[Translation, Losses]:
        """Equation (1), all helpers frozen; (6) moves the shared fusion alone unless `fda_scope` says more.

        Args:
            batch: one batch.
            lesions: gets the losses of S_ori and S_rec, whose gradients are then ready for their own update, as
                `lesion_step` would make them in a second pass.
        """
        optimiser = self.optimisers["generator"]
        optimiser.zero_grad(set_to_none=True)
        with frozen(*self.helpers.values()), self.autocast():
            made = self.translate(batch)
            terms = self.terms(batch, made, lesion=lesions is None)
        roots: list[tuple[Tensor, Tensor | None]] = []
        if lesions is not None:
            roots = self._lesion_roots(batch, made, lesions)
            terms["lesion"] = torch.stack(list(lesions.values())).sum()
        if "features" in terms and self.settings.fda_scope == "fusion":
            shared = list(self.generator.shared_parameters())
            (self.settings.lambda_fda * terms["features"]).backward(inputs=shared, retain_graph=True)
        total = losses.weighted_sum(terms, self.weights)
        tensors, gradients = zip((total, None), *roots, strict=True)
        torch.autograd.backward(tensors, gradients)
        average_gradients(self.generator.parameters())
        if self.settings.clip_gradient:
            nn.utils.clip_grad_norm_(self.generator.parameters(), self.settings.clip_gradient)
        optimiser.step()
        return made, {name: term.detach() for name, term in {"generator": total, **terms}.items()}

    def translate(self, batch: Batch) -> Translation:
        """Both translations and both reconstructions; the features are those of the first pass."""
        pseudo_ct, mr_features = self._one_way(batch.source, "mr")
        pseudo_mr, ct_features = self._one_way(batch.target, "ct")
        recon_mr = self._checked(self.generator.to_source(pseudo_ct), batch.source)
        recon_ct = self._checked(self.generator.to_target(pseudo_mr), batch.target)
        return Translation(pseudo_ct, pseudo_mr, recon_mr, recon_ct, mr_features, ct_features, self._encoded(batch))

    def _encoded(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """The encoders' outputs as they are before the update, without gradients."""
        if "d_fusion" not in self.helpers or self.settings.fda_features == "before":
            return None
        with torch.no_grad():
            return self.generator.encode(batch.source, "mr"), self.generator.encode(batch.target, "ct")

    def _one_way(self, images: Tensor, domain: Domain) -> tuple[Tensor, Tensor | None]:
        """Images of `domain` in the other domain and, where (6) needs them, their features: in one pass if it can."""
        generator = self.generator
        if "d_fusion" in self.helpers and callable(getattr(generator, "translate", None)):
            made, features = generator.translate(images, domain)
            return self._checked(made, images), features
        made = self._checked(generator.to_target(images) if domain == "mr" else generator.to_source(images), images)
        return made, generator.features(images, domain) if "d_fusion" in self.helpers else None

    def _checked(self, made: Tensor, images: Tensor) -> Tensor:
        return checked_shape(made, images, f"generator {name_of(self.generator)}")

    def _lesion_roots(self, batch: Batch, made: Translation, lesions: Losses) -> list[tuple[Tensor, Tensor | None]]:
        """Equation (5) for S_ori and S_rec; the images that they see, each with the generator's gradient there."""
        roots: list[tuple[Tensor, Tensor | None]] = []
        for name, images in (("s_ori", made.pseudo_ct), ("s_rec", made.recon_mr)):
            seen = images.detach().requires_grad_()
            loss = self._lesion_loss(name, seen, batch.source_mask)
            loss.backward()
            lesions[name] = loss.detach()
            roots.append((images, self.weights["lesion"] * cast(Tensor, seen.grad)))
        return roots

    def terms(self, batch: Batch, made: Translation, *, lesion: bool = True) -> Losses:
        """The terms of equation (1), unweighted, each a scalar; that of (5) if `lesion`."""
        nets, settings = self.helpers, self.settings
        terms = {"cycle": losses.cycle(made.recon_mr, batch.source) + losses.cycle(made.recon_ct, batch.target)}
        if "d_ct" in nets:
            terms["gan_ct"] = losses.adversarial(nets["d_ct"](made.pseudo_ct), settings.gan)
            terms["gan_mr"] = losses.adversarial(nets["d_mr"](made.pseudo_mr), settings.gan)
        if settings.lambda_identity:
            ct = self._checked(self.generator.to_target(batch.target), batch.target)
            mr = self._checked(self.generator.to_source(batch.source), batch.source)
            terms["identity"] = losses.identity(ct, batch.target) + losses.identity(mr, batch.source)
        if "s_ori" in nets and lesion:
            in_ct = losses.lesion(nets["s_ori"](made.pseudo_ct).logits, batch.source_mask)
            terms["lesion"] = in_ct + losses.lesion(nets["s_rec"](made.recon_mr).logits, batch.source_mask)
        if "d_fusion" in nets:
            terms["features"] = losses.feature_adaptation(nets["d_fusion"](made.ct_features), settings.gan_features)
        return terms

    def discriminator_step(self, name: str, real: Tensor, fake: Tensor) -> Losses:
        """Equation (3) for D_CT or D_MRI."""
        self.optimisers[name].zero_grad(set_to_none=True)
        fake = self.pools[name].swap(fake)
        with self.autocast():
            net = self.helpers[name]
            loss = losses.discriminator(net(real), net(fake), self.settings.gan)
        return self._update(name, loss)

    def feature_step(self, made: Translation) -> Losses:
        """Equation (7) for D_fusion."""
        self.optimisers["d_fusion"].zero_grad(set_to_none=True)
        mr_features, ct_features = cast(Tensor, made.mr_features).detach(), cast(Tensor, made.ct_features).detach()
        if made.encoded is not None:
            with torch.no_grad(), self.autocast():
                mr_features, ct_features = (self.generator.fuse(encoded) for encoded in made.encoded)
        with self.autocast():
            net = self.helpers["d_fusion"]
            loss = losses.feature_discriminator(net(mr_features), net(ct_features), self.settings.gan_features)
        return self._update("d_fusion", loss)

    def lesion_step(self, name: str, images: Tensor, mask: Tensor) -> Losses:
        """Equation (5) for S_ori or S_rec."""
        return self._update(name, self._lesion_loss(name, images.detach(), mask))

    def _lesion_loss(self, name: str, images: Tensor, mask: Tensor) -> Tensor:
        self.optimisers[name].zero_grad(set_to_none=True)
        with self.autocast():
            return losses.lesion(self.helpers[name](images).logits, mask)

    def _update(self, name: str, loss: Tensor) -> Losses:
        loss.backward()
        return self._moved(name, loss)

    def _moved(self, name: str, loss: Tensor) -> Losses:
        """An update by gradients that are there."""
        average_gradients(self.helpers[name].parameters())
        self.optimisers[name].step()
        return {name: loss.detach()}

    def set_lr_factor(self, factor: float) -> None:
        """Scale every optimiser's base learning rate."""
        set_lr_factor(self.optimisers.values(), factor)

    def modules(self) -> dict[str, nn.Module]:
        """The helper networks that these settings need, of `d_ct, d_mr, d_fusion, s_ori, s_rec`."""
        return dict(self.helpers)

    def state_dict(self) -> dict[str, Any]:
        """Helper networks, all optimisers (the generator's too) and the pools."""
        groups: dict[str, dict[str, Any]] = {
            "helpers": dict(self.helpers),
            "optimisers": self.optimisers,
            "pools": self.pools,
        }
        return {group: {name: item.state_dict() for name, item in items.items()} for group, items in groups.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        groups: dict[str, dict[str, Any]] = {
            "helpers": dict(self.helpers),
            "optimisers": self.optimisers,
            "pools": self.pools,
        }
        for group, items in groups.items():
            for name, item in items.items():
                item.load_state_dict(state[group][name])
        make_plain(self.optimisers.values())


def check_features(generator: nn.Module, settings: SynthesisSettings) -> None:
    """The feature loss needs features, with `fda_scope=fusion` shared parameters, with `fda_features=after` `fuse`.

    Raises:
        SettingError: naming the setting and what to do.
    """
    name = type(generator).__name__
    if settings.lambda_fda and not has_features(generator):
        raise SettingError(f"generator {name} has no shared features for the feature-space loss; --set lambda_fda=0")
    if settings.lambda_fda and settings.fda_scope == "fusion" and not hasattr(generator, "shared_parameters"):
        raise SettingError(f"generator {name} names no shared parameters; --set fda_scope=features or lambda_fda=0")
    if settings.lambda_fda and settings.fda_features == "after" and not hasattr(generator, "fuse"):
        raise SettingError(f"generator {name} cannot fuse what it encoded before; --set fda_features=before")


def _helpers(generator: nn.Module, context: ObjectiveContext) -> dict[str, nn.Module]:
    settings: SynthesisSettings = context.settings
    nets: dict[str, nn.Module] = {}
    if settings.lambda_gan:
        for name in ("d_ct", "d_mr"):
            nets[name] = PatchGan(
                settings.discriminator_width,
                settings.discriminator_norm,
                settings.discriminator_layers,
                context.channels,
            )
    if settings.lambda_fda:
        nets["d_fusion"] = DomainDiscriminator(cast(Any, generator).feature_channels, settings.features_width)
    if settings.lambda_les:
        for name in ("s_ori", "s_rec"):
            nets[name] = FcnVgg16(
                settings.lesion_width, context.channels, initialisation=settings.lesion_initialisation
            )
    return nets


def _optimisers(
    generator: nn.Module, helpers: dict[str, nn.Module], settings: SynthesisSettings
) -> dict[str, torch.optim.Optimizer]:
    chosen = {"generator": _adam(generator, settings.lr_generator, settings.betas)}
    for name, net in helpers.items():
        if name == "d_fusion":
            chosen[name] = _adam(net, settings.lr_features, settings.betas_features)
        elif name.startswith("d_"):
            chosen[name] = _adam(net, settings.lr_discriminator, settings.betas)
        elif settings.lesion_optimiser == "adam":
            chosen[name] = _adam(net, settings.lr_lesion, settings.betas)
        else:
            chosen[name] = torch.optim.SGD(net.parameters(), settings.lr_lesion, momentum=settings.lesion_momentum)
    return chosen


def _adam(net: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), rate, betas=betas)


def _pool(settings: SynthesisSettings) -> ImagePool:
    # torch's generator was seeded by whoever makes the objective, so the pools follow the run's seed.
    return ImagePool(settings.image_pool, int(torch.randint(2**31, (1,))))


def _weights(settings: SynthesisSettings) -> dict[str, float]:
    """Term -> weight in equation (1), without the terms that are off or that move the fusion alone."""
    weights = {
        "gan_ct": settings.lambda_gan,
        "gan_mr": settings.lambda_gan,
        "cycle": settings.lambda_cyc,
        "identity": settings.lambda_identity,
        "lesion": settings.lambda_les,
        "features": settings.lambda_fda if settings.fda_scope == "features" else 0.0,
    }
    return {name: weight for name, weight in weights.items() if weight}
