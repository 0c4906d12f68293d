"""The loss of a discriminator's logits in its two forms; equations (2), (3), (6), (7), (21) and (22) use it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ctseg.networks.settings import GanForm, ImageGanForm


def gan_loss(logits: Tensor, label: bool, form: ImageGanForm) -> Tensor:
    """Distance of a discriminator's logits from one label, a mean over all positions, in float32.

    The paper sums over positions. A mean keeps the loss, and the learning rate that suits it, independent of the size
    of the image and of the batch.

    Args:
        logits: of any shape; D = sigmoid(logits).
        label: True for "real" or "source", False for "fake" or "target".
        form: 'log' and 'minimax' give -log D for True and -log(1 - D) for False; 'lsq' the squared distance of the
            logits from 1 or from 0, without a sigmoid.

    Returns:
        A scalar.
    """
    logits = logits.float()
    if form == "lsq":
        return (logits - float(label)).square().mean()
    return functional.softplus(-logits if label else logits).mean()


def generator_loss(fake_logits: Tensor, form: ImageGanForm) -> Tensor:
    """What a generator minimises in equation (2), a mean over all positions, in float32.

    Args:
        fake_logits: a discriminator's logits of made images.
        form: 'minimax' is log(1 - D(G(x))) as the equation is printed; 'log' is -log D(G(x)), which has the same
            optimum and a gradient that does not vanish while the discriminator wins (Goodfellow et al. 2014, section
            3); 'lsq' is the squared distance of the logits from 1.
    """
    if form == "minimax":
        return -functional.softplus(fake_logits.float()).mean()
    return gan_loss(fake_logits, True, form)


def decision_boundary(form: GanForm) -> float:
    """The logit above which a discriminator says True: 0 for 'log', 0.5 for 'lsq'."""
    return 0.5 if form == "lsq" else 0.0
