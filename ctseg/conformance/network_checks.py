"""Checks of generators and segmenters alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctseg.conformance.subject import Fault, Subject, require
from ctseg.errors import PluginError
from ctseg.runs import save_model

SIZES = ((2, 64, 64), (1, 37, 53), (1, 48, 33))
"""(batch, height, width)."""


def toy_images(subject: Subject, batch: int = 2, height: int = 37, width: int = 53, seed: int = 0) -> Tensor:
    """(B, 1, H, W) noise in [-1, 1] on the device."""
    random = torch.Generator().manual_seed(seed)
    return (torch.rand((batch, 1, height, width), generator=random) * 2 - 1).to(subject.device)


def outputs(subject: Subject, module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Everything a network gives for images: logits and hidden map, or both translations and features."""
    if subject.kind == "segmenter":
        found = module(images)
        return {"logits": found.logits, "hidden": found.hidden}
    generator: Any = module
    made = {"to_target": generator.to_target(images)}
    if translates_back(generator):
        made["to_source"] = generator.to_source(images)
    if callable(getattr(generator, "features", None)):
        made |= {f"features {domain}": generator.features(images, domain) for domain in ("mr", "ct")}
    return made


def translates_back(generator: Any) -> bool:
    """Whether a generator translates in both directions.

    Raises:
        Fault: if it does not and brings no objective of its own.
    """
    try:
        with torch.no_grad(), evaluating(generator):
            generator.to_source(torch.zeros((1, 1, 32, 32), device=next(generator.parameters()).device))
    except PluginError:
        require(has_objective(generator), "to_source raises PluginError, but there is no objective of its own")
        return False
    return True


def has_objective(generator: Any) -> bool:
    """Whether a generator brings its own training objective."""
    return callable(getattr(generator, "objective", None))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, and back to what it was."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def check_gradients(module: nn.Module) -> None:
    """After a backward pass: every parameter has a finite gradient, and no weight's is all zero.

    Vectors may have one of zero: a bias before a normalisation does.

    Raises:
        Fault: naming the first parameter.
    """
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            raise Fault(f"no gradient reaches {name}")
        require(parameter.grad.isfinite().all(), f"the gradient of {name} is not finite")
        require(parameter.ndim < 2 or parameter.grad.any(), f"the gradient of {name} is zero everywhere")


def weighted(found: dict[str, Tensor]) -> Tensor:
    """A scalar that every output pixel has its own part in."""
    random = torch.Generator().manual_seed(1)
    return sum(
        ((values * torch.randn(values.shape, generator=random).to(values.device)).mean() for values in found.values()),
        start=torch.zeros((), device=next(iter(found.values())).device),
    )


def first_weights_follow_the_seed(subject: Subject, _folder: Path) -> None:
    """torch.manual_seed before the factory decides the first weights."""
    first, second = subject.build(seed=3).state_dict(), subject.build(seed=3).state_dict()
    other = next((name for name in first if not torch.equal(first[name], second[name])), None)
    require(other is None, f"{other} differs between two builds after the same torch.manual_seed")


def eval_is_deterministic(subject: Subject, _folder: Path) -> None:
    """In eval mode two passes give the same, and leave weights and statistics as they are."""
    module = subject.build().eval()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    images = toy_images(subject)
    with torch.no_grad():
        first, second = outputs(subject, module, images), outputs(subject, module, images)
    for name in first:
        require(torch.equal(first[name], second[name]), f"{name} differs between two passes in eval mode")
    changed = next(
        (name for name, values in module.state_dict().items() if not torch.equal(values, before[name])), None
    )
    require(changed is None, f"a pass in eval mode changes {changed}")


def slices_of_a_batch_are_independent(subject: Subject, _folder: Path) -> None:
    """In eval mode a slice's result does not depend on the other slices of its batch."""
    module, images = subject.build().eval(), toy_images(subject)
    with torch.no_grad():
        together, alone = outputs(subject, module, images), outputs(subject, module, images[:1])
    for name in alone:
        same = torch.allclose(together[name][:1], alone[name], rtol=1e-3, atol=1e-4)
        require(same, f"{name} of a slice changes with the other slices of the batch")


def works_in_bfloat16(subject: Subject, _folder: Path) -> None:
    """Under bfloat16 autocast the outputs are finite and have their shapes."""
    module, images = subject.build().eval(), toy_images(subject)
    with torch.no_grad():
        plain = outputs(subject, module, images)
        with torch.autocast(torch.device(subject.device).type, torch.bfloat16):
            mixed = outputs(subject, module, images)
    for name, values in mixed.items():
        require(values.shape == plain[name].shape, f"{name} has another shape under autocast: {tuple(values.shape)}")
        require(values.isfinite().all(), f"{name} is not finite under autocast")


def comes_back_from_its_file(subject: Subject, folder: Path) -> None:
    """Saved and loaded through the plugin host, the network gives the same output."""
    module, images = subject.build().eval(), toy_images(subject)
    save_model(folder / "model.safetensors", module, subject.header())
    loaded = subject.load(folder)
    with torch.no_grad():
        before, after = outputs(subject, module, images), outputs(subject, loaded, images)
    for name in before:
        require(torch.equal(before[name], after[name]), f"{name} differs after saving and loading")
