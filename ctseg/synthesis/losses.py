"""The losses of stage 1, one function an equation; numbers are those of the paper.

Discriminators give logits, D = sigmoid(logits). Where the paper sums over positions, (6) and (7), these are means: a
sum would weigh a loss by the size of the picture. Every loss is computed in float32.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from ctseg.networks.gan_loss import gan_loss, generator_loss
from ctseg.networks.settings import GanForm, ImageGanForm


def adversarial(fake_logits: Tensor, form: ImageGanForm) -> Tensor:
    """What a generator minimises in equation (2): its images taken for real; 'minimax' is the equation as printed."""
    return generator_loss(fake_logits, form)


def discriminator(real_logits: Tensor, fake_logits: Tensor, form: ImageGanForm) -> Tensor:
    """Equation (3): what D_CT (or D_MRI) minimises, real slices taken for real and made ones for fake."""
    return gan_loss(real_logits, True, form) + gan_loss(fake_logits, False, form)


def cycle(reconstructed: Tensor, images: Tensor) -> Tensor:
    """One direction of equation (4): mean absolute difference, (B, 1, H, W) in [-1, 1]."""
    return functional.l1_loss(reconstructed.float(), images)


def identity(unchanged: Tensor, images: Tensor) -> Tensor:
    """A generator given an image of its output domain should leave it alone (CycleGAN 5.2; not in the paper)."""
    return functional.l1_loss(unchanged.float(), images)


def lesion(logits: Tensor, mask: Tensor) -> Tensor:
    """One term of equation (5): cross-entropy of S_ori's (or S_rec's) logits with the MR mask, both (B, 1, H, W)."""
    return functional.binary_cross_entropy_with_logits(logits.float(), mask)


def feature_adaptation(target_logits: Tensor, form: GanForm) -> Tensor:
    """Equation (6): D_fusion takes the target's features for the source's."""
    return gan_loss(target_logits, True, form)


def feature_discriminator(source_logits: Tensor, target_logits: Tensor, form: GanForm) -> Tensor:
    """Equation (7): D_fusion learns z = 1 for source features, z = 0 for target features."""
    return gan_loss(source_logits, True, form) + gan_loss(target_logits, False, form)


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Equation (1): the terms that `weights` names, each times its weight."""
    return sum((weights[name] * terms[name] for name in weights), start=next(iter(terms.values())) * 0.0)
