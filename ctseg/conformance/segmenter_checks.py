"""Checks of segmenters."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ctseg.conformance.network_checks import SIZES, check_gradients, outputs, toy_images, weighted
from ctseg.conformance.subject import Subject, require


def segments_any_size(subject: Subject, _folder: Path) -> None:
    """Logits have the image's size whatever it is, the hidden map its channels; batch of one, train and eval."""
    module = subject.build()
    require(isinstance(module, nn.Module), "is no torch.nn.Module")
    channels = getattr(module, "hidden_channels", None)
    require(
        isinstance(channels, int) and channels > 0, f"hidden_channels must be a number of channels, is {channels!r}"
    )
    for batch, height, width in SIZES:
        for mode in (True, False):
            with torch.no_grad():
                found = module.train(mode)(toy_images(subject, batch, height, width))
            for name in ("logits", "hidden"):
                require(hasattr(found, name), f"gives no {name}; return a SegmenterOutput")
                require(getattr(found, name).dtype == torch.float32, f"{name} is {getattr(found, name).dtype}")
                require(getattr(found, name).isfinite().all(), f"{name} is not finite")
            shape, hidden = (batch, 1, height, width), tuple(found.hidden.shape)
            require(found.logits.shape == shape, f"logits of {shape} images are {tuple(found.logits.shape)}")
            promised = len(hidden) == 4 and hidden[:2] == (batch, channels)
            require(promised, f"hidden is {hidden}, expected ({batch}, {channels}, h, w)")


def gradients_reach_every_parameter(subject: Subject, _folder: Path) -> None:
    """Every parameter is moved by the logits or the hidden map."""
    module = subject.build().train()
    weighted(outputs(subject, module, toy_images(subject))).backward()
    check_gradients(module)


def adversary_reaches_the_network(subject: Subject, _folder: Path) -> None:
    """A loss on the hidden map moves the network."""
    module = subject.build().train()
    hidden = outputs(subject, module, toy_images(subject))["hidden"]
    require(hidden.requires_grad, "hidden is detached: the adversarial loss would move nothing")
    weighted({"hidden": hidden}).backward()
    moved = [name for name, item in module.named_parameters() if item.grad is not None and item.grad.any()]
    require(moved, "a loss on hidden moves no parameter")
