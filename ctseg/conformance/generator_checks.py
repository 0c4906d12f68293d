"""Checks of generators, with and without a feature map or an objective of their own."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctseg.conformance.network_checks import (
    SIZES,
    check_gradients,
    has_objective,
    outputs,
    toy_images,
    translates_back,
    weighted,
)
from ctseg.conformance.subject import NotApplicable, Subject, require
from ctseg.conformance.training_checks import quiet, synthesis_settings
from ctseg.networks.blocks import seeded
from ctseg.plugins.protocols import Batch, ObjectiveContext, has_features
from ctseg.synthesis.objective import make_objective


def translates_any_size(subject: Subject, _folder: Path) -> None:
    """Translations have the image's size whatever it is, in float32; batch of one, train and eval."""
    module = subject.build()
    require(isinstance(module, nn.Module), "is no torch.nn.Module")
    ways = ["to_target", "to_source"] if translates_back(module) else ["to_target"]
    for batch, height, width in SIZES:
        images = toy_images(subject, batch, height, width)
        for mode in (True, False):
            module.train(mode)
            for way in ways:
                with torch.no_grad():
                    made = getattr(module, way)(images)
                require(made.shape == images.shape, f"{way} turns {tuple(images.shape)} into {tuple(made.shape)}")
                require(made.dtype == torch.float32, f"{way} gives {made.dtype}, expected float32")
                require(made.isfinite().all(), f"{way} gives values that are not finite")


def stays_in_range(subject: Subject, _folder: Path) -> None:
    """Translations stay in [-1, 1], with the first weights and with larger ones."""
    module = subject.build().eval()
    images = toy_images(subject) * 3
    for factor in (1.0, 3.0):
        scaled = copy.deepcopy(module)
        with torch.no_grad():
            for parameter in scaled.parameters():
                parameter.mul_(factor)
            made = {name: item for name, item in outputs(subject, scaled, images).items() if name.startswith("to_")}
        for way, values in made.items():
            largest = float(values[values.isfinite()].abs().max())
            require(largest <= 1.0 + 1e-5, f"{way} leaves [-1, 1]: {largest:.3g}; end with tanh")


def gradients_reach_every_parameter(subject: Subject, _folder: Path) -> None:
    """Every parameter is moved by the translations or features; with an own objective, by one of its steps."""
    module = subject.build().train()
    if has_objective(module):
        _check_moved(subject, module)
        return
    weighted(outputs(subject, module, toy_images(subject))).backward()
    check_gradients(module)


def _check_moved(subject: Subject, module: Any) -> None:
    before = {name: item.detach().clone() for name, item in module.named_parameters() if item.requires_grad}
    objective = _objective(subject, module)
    for seed in range(2):
        objective.step(toy_batch(subject, seed))
    still = [name for name, item in module.named_parameters() if name in before and torch.equal(item, before[name])]
    weights = [name for name in still if before[name].ndim > 1]
    require(not weights, f"two steps of its objective do not move {', '.join(weights[:3])}")


def features_serve_the_feature_loss(subject: Subject, _folder: Path) -> None:
    """`features` gives its promised channels for both domains, and `shared_parameters` is a part of the network."""
    module = subject.build().train()
    if not has_features(module):
        require(not hasattr(module, "features"), "has features but no feature_channels")
        raise NotApplicable("has no features; the feature-space loss has to be off, --set lambda_fda=0")
    for domain in ("mr", "ct"):
        found = module.features(toy_images(subject), domain)
        channels = found.shape[1] if found.ndim == 4 else None
        require(
            channels == module.feature_channels, f"features are {tuple(found.shape)}, not {module.feature_channels}"
        )
    if hasattr(module, "shared_parameters"):
        own, shared = {id(item) for item in module.parameters()}, [id(item) for item in module.shared_parameters()]
        require(shared and set(shared) <= own, "shared_parameters must name some of the generator's own parameters")
    if callable(getattr(module, "translate", None)):
        _check_translate(subject, module.eval())


@torch.no_grad()
def _check_translate(subject: Subject, module: Any) -> None:
    images = toy_images(subject)
    for domain, way in (("mr", "to_target"), ("ct", "to_source")):
        made, features = module.translate(images, domain)
        same = torch.allclose(made, getattr(module, way)(images), rtol=1e-3, atol=1e-4)
        same = same and torch.allclose(features, module.features(images, domain), rtol=1e-3, atol=1e-4)
        require(same, f"translate(images, {domain!r}) is not ({way}(images), features(images, {domain!r}))")


def objective_keeps_its_promises(subject: Subject, folder: Path) -> None:
    """An own objective gives detached finite scalars, obeys the rate factor, and its state holds plain values only."""
    module = subject.build().train()
    if not has_objective(module):
        raise NotApplicable("uses ctseg's own objective")
    objective = _objective(subject, module)
    for name, value in objective.step(toy_batch(subject)).items():
        scalar = isinstance(value, Tensor) and value.ndim == 0
        require(scalar and not value.requires_grad, f"loss {name!r} must be a detached scalar tensor")
        require(value.isfinite(), f"loss {name!r} is not finite")
    before = {name: item.detach().clone() for name, item in module.named_parameters()}
    objective.set_lr_factor(0.0)
    objective.step(toy_batch(subject))
    moved = next((name for name, item in module.named_parameters() if not torch.equal(item, before[name])), None)
    require(moved is None, f"after set_lr_factor(0) a step still moves {moved}")
    torch.save(objective.state_dict(), folder / "state.pt")
    objective.load_state_dict(torch.load(folder / "state.pt", weights_only=True, map_location=subject.device))


def _objective(subject: Subject, module: nn.Module) -> Any:
    context = ObjectiveContext(synthesis_settings(module), torch.device(subject.device), nullcontext)
    with seeded(0), quiet():
        return make_objective(module, context)


def toy_batch(subject: Subject, seed: int = 0) -> Batch:
    """Two pairs of noise images, with a mask."""
    source, target = (toy_images(subject, 2, 40, 40, seed=2 * seed + place) for place in (0, 1))
    return Batch(source, (source > 0.8).float(), target)
