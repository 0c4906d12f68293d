"""Modes of a network that end with a block: evaluation, frozen, frozen batch norm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

BATCH_NORM = (nn.modules.batchnorm._BatchNorm,)
"""Every layer with running statistics, SyncBatchNorm included."""


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Networks are in evaluation mode within the block; each part has its former mode after it."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Gradients pass through the networks and reach no parameter, and batch norm leaves its statistics as they are."""
    parameters = [item for network in networks for item in network.parameters()]
    layers = [part for network in networks for part in network.modules() if isinstance(part, BATCH_NORM)]
    with _switched_off(parameters, "requires_grad"), _switched_off(layers, "track_running_stats"):
        yield


@contextmanager
def _switched_off(items: Iterable[object], name: str) -> Iterator[None]:
    """The attribute `name` is False within the block; it is True again after it, where it was True."""
    changed = [item for item in items if getattr(item, name)]
    for item in changed:
        setattr(item, name, False)
    try:
        yield
    finally:
        for item in changed:
            setattr(item, name, True)


@contextmanager
def frozen_batch_norm(module: nn.Module, frozen: bool = True) -> Iterator[None]:
    """Batch norm uses its running statistics within the block and leaves them as they are.

    Args:
        module: the network.
        frozen: False leaves everything as it is, so that a caller needs no branch.
    """
    layers = [part for part in module.modules() if isinstance(part, BATCH_NORM) and part.training] if frozen else []
    for layer in layers:
        layer.train(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.train(True)
