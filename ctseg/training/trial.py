"""A network of another package is tried on two slices before a training writes anything: all that the training asks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ctseg.errors import PluginError, first_line
from ctseg.networks.intensity import checked_shape, to_images
from ctseg.plugins.called import plugin_call
from ctseg.plugins.protocols import Batch, ObjectiveContext, has_features

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ctseg.io.slices import SliceSet
    from ctseg.plugins.entry import Entry

PASSES = ((True, 2), (False, 2), (False, 1))
"""In training or evaluation, and with how many slices: the last batch of an evaluation may have one."""
COPYING = ("lambda_consistency", "weight_average")
"""Settings with which a training keeps a copy of the segmenter."""


def try_network(
    entry: Entry, make: Callable[[], nn.Module], slices: SliceSet, fabric: Fabric, settings: Any = None
) -> None:
    """Show two slices to a network of another package, forwards and backwards, and check what it gives.

    The network that is trained is another one: nothing of this stays. One of ctseg's own is not tried.

    Args:
        entry: the network's plugin.
        make: makes one, on the processor.
        slices: the first two are shown.
        fabric: device and precision of the training.
        settings: of the training; None: an objective of the network's own and copies of it are not tried.

    Raises:
        PluginError: naming the plugin, for whatever it raises, and for outputs that are not of their image's shape,
            are no numbers, or have other channels than it says; if it writes into its images, cannot be trained, or
            has weights that a file would not bring back.
    """
    if entry.package == "ctseg":
        return
    with torch.random.fork_rng(), plugin_call(entry.who):
        module = _made(entry, make)
        layout = torch.channels_last if getattr(settings, "channels_last", False) else torch.contiguous_format
        module.to(device=fabric.device, memory_format=layout)  # type: ignore[call-overload]
        for training, count in PASSES:
            module.train(training)
            with torch.set_grad_enabled(training):
                _try_once(entry, module, to_images(slices.images[:count], fabric.device), fabric)
        _try_weights(entry, module, make)
        if any(getattr(settings, name, 0) for name in COPYING):
            copy.deepcopy(module)
        if settings is not None and callable(getattr(module, "objective", None)):
            module.train()
            _try_objective(entry, module, to_images(slices.images[:2], fabric.device), fabric, settings)


def _made(entry: Entry, make: Callable[[], nn.Module]) -> nn.Module:
    """A network with weights to train."""
    module = make()
    if not isinstance(module, nn.Module):
        raise PluginError(f"gives a {type(module).__name__}, not a torch.nn.Module", entry.who)
    if not any(weight.requires_grad for weight in module.parameters()):
        raise PluginError("has no weights to train", entry.who)
    return module


def _try_once(entry: Entry, module: nn.Module, images: Tensor, fabric: Fabric) -> None:
    """One pass and, where gradients are on, one back; an objective of a generator's own may leave gradients out."""
    shown, who = images.clone(), entry.who
    with fabric.autocast():
        made = OUTPUTS[entry.kind](module, images, who)
    if not torch.equal(shown, images):
        raise PluginError("writes into the images that it is given; work on a copy, as with images.clone()", who)
    if not all(torch.isfinite(item).all() for item in made):
        raise PluginError("gives values that are no numbers, before any training", who)
    if not torch.is_grad_enabled() or callable(getattr(module, "objective", None)):
        return
    if not all(item.requires_grad for item in made):
        raise PluginError("gives values without a gradient; nothing would be learnt", who)
    torch.stack([item.float().square().mean() for item in made]).sum().backward()


def _try_weights(entry: Entry, module: nn.Module, make: Callable[[], nn.Module]) -> None:
    """Weights are tensors, and those of a network that was used fit a new one: the file of a training is read so."""
    state = module.state_dict()
    strange = next((name for name, value in state.items() if not isinstance(value, Tensor)), "")
    if strange:
        what = type(state[strange]).__name__
        raise PluginError(f"its state_dict holds {strange!r}, a {what}; a model's file takes tensors alone", entry.who)
    try:
        make().load_state_dict(state)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise PluginError(
            f"a new one does not take the weights of one that was used ({reason}), so its model could not be read; "
            "make every layer in __init__",
            entry.who,
        ) from error


def _try_objective(entry: Entry, module: Any, images: Tensor, fabric: Fabric, settings: Any) -> None:
    """One step of an objective of the generator's own, and its state through a checkpoint."""
    objective = module.objective(ObjectiveContext(settings, fabric.device, fabric.autocast))
    objective.set_lr_factor(1.0)
    losses = objective.step(Batch(images, torch.zeros_like(images), images))
    if not isinstance(losses, Mapping) or not all(
        isinstance(loss, Tensor) and not loss.ndim for loss in losses.values()
    ):
        raise PluginError("its objective's step gives no named scalar tensors", entry.who)
    wrong = next((name for name, loss in losses.items() if not torch.isfinite(loss)), "")
    if wrong:
        raise PluginError(f"its objective's loss {wrong!r} is no number in the first step", entry.who)
    file = BytesIO()
    torch.save(objective.state_dict(), file)
    file.seek(0)
    try:
        state = torch.load(file, fabric.device, weights_only=True)
    except Exception as error:  # torch's and pickle's, of what the state holds
        raise PluginError(
            f"a checkpoint does not bring back its objective's state_dict ({first_line(error)}); keep tensors and "
            "plain values in it",
            entry.who,
        ) from error
    objective.load_state_dict(state)


def _segmenter_outputs(module: Any, images: Tensor, who: str) -> list[Tensor]:
    """Logits (B, 1, H, W) and the hidden map (B, C, h, w) of `hidden_channels`."""
    output = module(images)
    if not (hasattr(output, "logits") and hasattr(output, "hidden")):
        raise PluginError(f"gives a {type(output).__name__}, not a ctseg.plugins.protocols.SegmenterOutput", who)
    hidden = _checked_map(output.hidden, len(images), module.hidden_channels, who, "hidden map")
    return [checked_shape(output.logits, images, who), hidden]


def _generator_outputs(module: Any, images: Tensor, who: str) -> list[Tensor]:
    """What both directions give; one with an objective of its own may have the first alone, and is not asked more."""
    made = [checked_shape(module.to_target(images), images, who)]
    if callable(getattr(module, "objective", None)):
        return made
    made.append(checked_shape(module.to_source(images), images, who))
    return [*made, *_features(module, images, who)] if has_features(module) else made


def _features(module: Any, images: Tensor, who: str) -> list[Tensor]:
    """The feature maps of both domains, by each way that the module has to them."""
    found = []
    for domain in ("mr", "ct"):
        maps = {"features": module.features(images, domain)}
        if callable(getattr(module, "translate", None)):
            made, maps["features of translate"] = module.translate(images, domain)
            found.append(checked_shape(made, images, who))
        if callable(getattr(module, "encode", None)) and callable(getattr(module, "fuse", None)):
            maps["features of fuse"] = module.fuse(module.encode(images, domain))
        found += [_checked_map(item, len(images), module.feature_channels, who, name) for name, item in maps.items()]
    return found


OUTPUTS: dict[str, Callable[[Any, Tensor, str], list[Tensor]]] = {
    "segmenter": _segmenter_outputs,
    "generator": _generator_outputs,
}


def _checked_map(values: Any, count: int, channels: int, who: str, name: str) -> Tensor:
    """(B, C, h, w) as the network says that it is."""
    if not isinstance(values, Tensor):
        raise PluginError(f"gives as {name} a {type(values).__name__}, not a tensor", who)
    if values.ndim != 4 or values.shape[:2] != (count, channels):
        sizes = " x ".join(map(str, values.shape))
        raise PluginError(f"gives as {name} {sizes} for {count} images and the {channels} channels that it names", who)
    return values
