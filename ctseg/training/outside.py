"""Networks of other packages in a training: tried once before anything is written, and named where they fail later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ctseg.errors import CtsegError, PluginError
from ctseg.networks.intensity import checked_shape, to_images
from ctseg.plugins.called import name_of, plugin_call
from ctseg.plugins.contained import StoppedError, bounded
from ctseg.plugins.entry import words
from ctseg.plugins.protocols import has_features

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ctseg.io.slices import SliceSet
    from ctseg.plugins.entry import Entry

NOT_OUTSIDE = frozenset({"", "builtins", "ctseg", "functools", "torch"})
"""Top names of modules that no plugin is."""
ENGINE = ("torch.autograd", "torch._tensor")
"""Modules that start torch's backward pass, where errors have no line of the network's."""


def try_network(entry: Entry, make: Callable[[], nn.Module], slices: SliceSet, fabric: Fabric) -> None:
    """Show two slices to a network of another package, forwards and backwards, and check what it gives.

    The network that is trained is another one: nothing of this stays. One of ctseg's own is not tried.

    Args:
        entry: the network's plugin.
        make: makes one, on the processor.
        slices: the first two are shown.
        fabric: device and precision of the training.

    Raises:
        PluginError: naming the plugin, for whatever it raises, and for outputs that are not of their image's shape,
            are no numbers, or have other channels than it says; if it writes into its images or cannot be trained.
    """
    if entry.package == "ctseg":
        return
    with torch.random.fork_rng(), plugin_call(entry.who):
        module = make()
        if not isinstance(module, nn.Module):
            raise PluginError(f"{entry.who}: gives a {type(module).__name__}, not a torch.nn.Module")
        if not any(weight.requires_grad for weight in module.parameters()):
            raise PluginError(f"{entry.who}: has no weights to train")
        module.to(fabric.device)
        for training in (True, False):
            module.train(training)
            with torch.set_grad_enabled(training):
                _try_once(entry, module, to_images(slices.images[:2], fabric.device), fabric)


def _try_once(entry: Entry, module: nn.Module, images: Tensor, fabric: Fabric) -> None:
    """One pass and, where gradients are on, one back; an objective of a generator's own may leave gradients out."""
    shown, who = images.clone(), entry.who
    with fabric.autocast():
        made = OUTPUTS[entry.kind](module, images, who)
    if not torch.equal(shown, images):
        raise PluginError(f"{who}: writes into the images that it is given; work on a copy, as with images.clone()")
    if not all(torch.isfinite(item).all() for item in made):
        raise PluginError(f"{who}: gives values that are no numbers, before any training")
    if not torch.is_grad_enabled() or callable(getattr(module, "objective", None)):
        return
    if not all(item.requires_grad for item in made):
        raise PluginError(f"{who}: gives values without a gradient; nothing would be learnt")
    torch.stack([item.float().square().mean() for item in made]).sum().backward()


def _segmenter_outputs(module: Any, images: Tensor, who: str) -> list[Tensor]:
    """Logits (B, 1, H, W) and the hidden map (B, C, h, w) of `hidden_channels`."""
    output = module(images)
    if not (hasattr(output, "logits") and hasattr(output, "hidden")):
        raise PluginError(f"{who}: gives a {type(output).__name__}, not a ctseg.plugins.protocols.SegmenterOutput")
    hidden = _checked_map(output.hidden, len(images), module.hidden_channels, f"{who}: gives as hidden map")
    return [checked_shape(output.logits, images, who), hidden]


def _generator_outputs(module: Any, images: Tensor, who: str) -> list[Tensor]:
    """What both directions give; one with an objective of its own may have the first alone, and is not asked more."""
    made = [checked_shape(module.to_target(images), images, who)]
    if callable(getattr(module, "objective", None)):
        return made
    made.append(checked_shape(module.to_source(images), images, who))
    if has_features(module):
        for domain in ("mr", "ct"):
            found = module.features(images, domain)
            made.append(_checked_map(found, len(images), module.feature_channels, f"{who}: gives as features"))
    return made


OUTPUTS: dict[str, Callable[[Any, Tensor, str], list[Tensor]]] = {
    "segmenter": _segmenter_outputs,
    "generator": _generator_outputs,
}


def _checked_map(values: Any, count: int, channels: int, words: str) -> Tensor:
    """(B, C, h, w) as the network says that it is."""
    if not isinstance(values, Tensor):
        raise PluginError(f"{words} a {type(values).__name__}, not a tensor")
    if values.ndim != 4 or values.shape[:2] != (count, channels):
        sizes = " x ".join(map(str, values.shape))
        raise PluginError(f"{words} {sizes} for {count} images and the {channels} channels that it names")
    return values


@contextmanager
def outside_training(entry: Entry, module: nn.Module) -> Iterator[None]:
    """Train a network in the block; where the network fails, if it is another package's, the error names its plugin.

    What it writes to stdout goes to stderr, and what it changes of the process is put back at the end. The whole
    training is one block, so that this costs nothing for a step.

    Raises:
        PluginError: for errors that come from the plugin's code; others are left as they are.
    """
    if entry.package == "ctseg":
        yield
        return
    try:
        with bounded():
            yield
    except PluginError as error:
        made, text = f"{words(entry.kind)} {name_of(module)}", str(error)
        raise (PluginError(entry.who + text.removeprefix(made)) if text.startswith(made) else error) from None
    except CtsegError:
        raise
    except (Exception, SystemExit) as error:
        if not comes_from(error, entry, module):
            raise
        with plugin_call(entry.who):
            raise


def comes_from(error: BaseException, entry: Entry, module: nn.Module) -> bool:
    """Whether an error was raised within a network of another package, or by the backward pass through it."""
    own = {str(getattr(thing, "__module__", "")).partition(".")[0] for thing in (type(module), entry.factory)}
    cause = error.__cause__ if isinstance(error, StoppedError) else error
    frames = walk_tb(None if cause is None else cause.__traceback__)
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
    within = {name.partition(".")[0] for name in names} & (own - NOT_OUTSIDE)
    return bool(within) or "".join(names[-1:]).startswith(ENGINE)
