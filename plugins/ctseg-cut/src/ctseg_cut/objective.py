"""CUT's training objective: an adversary on the pseudo-CT and the contrastive loss (Park et al. 2020, section 3)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ctseg.networks.discriminators import PatchGan
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.synthesis import losses
from ctseg.synthesis.pool import ImagePool
from ctseg.training.loop import set_lr_factor
from ctseg.training.processes import average_gradients
from ctseg_cut.losses import Heads, draw_places, patch_nce
from ctseg_cut.settings import CutSettings

if TYPE_CHECKING:
    from ctseg_cut.generator import CutGenerator

NOT_USED = ("lambda_cyc", "lambda_identity", "lambda_les", "lambda_fda")
logger = logging.getLogger("ctseg")


class CutObjective:
    """Owns the discriminator, the feature heads, their optimisers and the generator's.

    Whoever makes it seeds torch's generator, which draws the first weights and the seeds of patches and pool.
    """

    def __init__(self, generator: CutGenerator, settings: CutSettings, context: ObjectiveContext) -> None:
        self.generator, self.own, self.settings, self.autocast = generator, settings, context.settings, context.autocast
        common = self.settings
        self.discriminator = PatchGan(common.discriminator_width, common.discriminator_norm).to(context.device)
        self.heads = Heads(generator.tap_channels, settings.head_width).to(context.device)
        self.optimisers = {
            "generator": torch.optim.Adam(generator.parameters(), common.lr_generator, betas=common.betas),
            "heads": torch.optim.Adam(self.heads.parameters(), common.lr_generator, betas=common.betas),
            "d_ct": torch.optim.Adam(self.discriminator.parameters(), common.lr_discriminator, betas=common.betas),
        }
        self.pool = ImagePool(common.image_pool, int(torch.randint(2**31, (1,))))
        self.random = torch.Generator().manual_seed(int(torch.randint(2**31, (1,))))
        unused = [name for name in NOT_USED if getattr(common, name)]
        if unused:
            logger.warning("generator cut: its objective has no use for %s", ", ".join(unused))

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One update of generator and heads, then one of the discriminator; named losses, detached."""
        pseudo_ct, named = self._generator_step(batch)
        return named | self._discriminator_step(batch.target, pseudo_ct)

    def _generator_step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        for name in ("generator", "heads"):
            self.optimisers[name].zero_grad(set_to_none=True)
        self.discriminator.requires_grad_(False)
        with self.autocast():
            pseudo_ct = self.generator.to_target(batch.source)
            terms = {"gan_ct": losses.adversarial(self.discriminator(pseudo_ct), self.settings.gan)}
            terms["nce"] = self.contrast(batch.source, pseudo_ct)
            if self.own.identity:
                terms["nce_identity"] = self.contrast(batch.target, self.generator.to_target(batch.target))
        contrasts = [value for name, value in terms.items() if name.startswith("nce")]
        contrast = sum(contrasts[1:], start=contrasts[0]) / len(contrasts)
        total = self.settings.lambda_gan * terms["gan_ct"] + self.own.lambda_nce * contrast
        total.backward()
        self.discriminator.requires_grad_(True)
        self._update("generator", self.generator, self.settings.clip_gradient)
        self._update("heads", self.heads)
        return pseudo_ct.detach(), {name: value.detach() for name, value in {"generator": total, **terms}.items()}

    def contrast(self, images: Tensor, translated: Tensor) -> Tensor:
        """PatchNCE between images and their translation, mean over the tapped layers."""
        with torch.no_grad():
            of_images = self.generator.taps(images)
        of_translated = self.generator.taps(translated)
        places = draw_places(of_images, self.own.patches, self.random)
        with torch.no_grad():
            keys = self.heads(of_images, places)
        queries = self.heads(of_translated, places)
        found = [patch_nce(*pair, self.own.temperature) for pair in zip(queries, keys, strict=True)]
        return torch.stack(found).mean()

    def _discriminator_step(self, target: Tensor, pseudo_ct: Tensor) -> dict[str, Tensor]:
        self.optimisers["d_ct"].zero_grad(set_to_none=True)
        fake = self.pool.swap(pseudo_ct)
        with self.autocast():
            judged = self.discriminator(target), self.discriminator(fake)
            loss = losses.discriminator(*judged, self.settings.gan)
        loss.backward()
        self._update("d_ct", self.discriminator)
        return {"d_ct": loss.detach()}

    def _update(self, name: str, network: nn.Module, clip: float = 0.0) -> None:
        average_gradients(network.parameters())
        if clip:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        self.optimisers[name].step()

    def set_lr_factor(self, factor: float) -> None:
        """Scale every optimiser's base learning rate."""
        set_lr_factor(self.optimisers.values(), factor)

    def modules(self) -> dict[str, nn.Module]:
        """The discriminator and the heads."""
        return {"d_ct": self.discriminator, "heads": self.heads}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, the pool and the state of the draws."""
        return {
            "networks": {name: network.state_dict() for name, network in self.modules().items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "pool": self.pool.state_dict(),
            "random": self.random.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for name, network in self.modules().items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.pool.load_state_dict(state["pool"])
        self.random.set_state(state["random"].cpu())
