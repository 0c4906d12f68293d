"""Several processes that train together: what they add up, what they agree on, and what happens when one is lost.

Each gets its own part of every batch. Whatever a loss or a layer sums over the batch is summed over all processes, so
that n processes with batches of b slices train as one process with batches of n b does. One process needs none of it:
every function here then gives its argument back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ctseg.checkpoints import way_out
from ctseg.errors import CtsegError, InputError, TrainingError, first_line

LAUNCHED = "CTSEG_LAUNCHED"
"""Set in processes that `ctseg` itself started for `--devices`: their parent says which of them was lost."""
BUCKET = 1 << 24
"""Gradients of this many numbers at most are sent in one go."""
LOST = "a process of this training was lost, often for lack of memory"
LOST_WORDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")
"""What the errors of torch's process groups say, as they have no type of their own."""


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Which of them this one is, from 0; the first one alone writes."""
    return distributed.get_rank() if _together() else 0


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def own_rows(count: int) -> slice:
    """Where this process's `count` slices lie in the batch of all processes."""
    return slice(rank() * count, (rank() + 1) * count)


def total(values: Tensor) -> Tensor:
    """The sum over all processes of a tensor of any shape; gradients go back through it to every process."""
    if world_size() == 1:
        return values
    summed: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]
    return summed


class _Total(torch.autograd.Function):
    """The sum over processes; since each process's sum is every process's, so is each one's gradient."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        return _sum(values)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient)


def _sum(values: Tensor) -> Tensor:
    summed = values.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(summed)
    return summed


def average(values: Tensor) -> Tensor:
    """The mean over all processes, without a gradient."""
    if world_size() == 1:
        return values
    return _sum(values) / world_size()


def gathered(images: Tensor) -> Tensor:
    """(B, ...) of every process -> (B of all, ...) in the order of the processes, without a gradient."""
    if world_size() == 1:
        return images
    parts = [torch.empty_like(images) for _ in range(world_size())]
    distributed.all_gather(parts, images.contiguous())
    return torch.cat(parts)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over the processes, some millions of numbers at a time."""
    if world_size() == 1:
        return
    for bucket in _buckets([item.grad for item in parameters if item.grad is not None]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        distributed.all_reduce(flat)
        flat /= world_size()
        for gradient, mean in zip(bucket, flat.split([item.numel() for item in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type and device, each list of at most `BUCKET` numbers or one tensor."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        fits = sum(item.numel() for item in bucket) + gradient.numel() <= BUCKET
        if bucket and not (fits and (gradient.dtype, gradient.device) == (bucket[0].dtype, bucket[0].device)):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def share_weights(modules: Mapping[str, nn.Module]) -> None:
    """Give every process the first one's weights and statistics: they were drawn alike, but machines differ."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for module in modules.values():
            for tensor in (*module.parameters(), *module.buffers()):
                dense = tensor.detach().contiguous()
                distributed.broadcast(dense, 0)
                tensor.copy_(dense)


def everyones(value: Any) -> list[Any]:
    """A small plain value of every process, in their order."""
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    distributed.all_gather_object(found, value)
    return found


class SilentError(CtsegError):
    """An error that another process of the training says, so that a person reads it once; it has no text."""


@contextmanager
def agreed() -> Iterator[None]:
    """All processes leave the block well, or all end: an error of one ends the others, and one line says it.

    Raises:
        CtsegError: the first process's own, or one that names the process it is of.
        TrainingError: if a process was lost meanwhile.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    found = _errors(error)
    failed = [number for number, text in enumerate(found) if text is not None]
    if not failed:
        return
    if error is not None and (rank() == 0 or not isinstance(error, CtsegError | OSError | MemoryError)):
        raise error
    if rank():
        raise SilentError("") from None
    raise InputError(f"process {failed[0] + 1} of {len(found)}: {found[failed[0]]}")


def _errors(error: Exception | None) -> list[str | None]:
    """Every process's error, as one line, or None.

    Raises:
        TrainingError: if a process was lost.
    """
    try:
        return everyones(None if error is None else first_line(error, None))
    except RuntimeError as lost:
        if not is_lost(lost):
            raise
        raise SilentError("") if _said_before(True) else TrainingError(LOST) from None


def check_same(value: Any, message: Callable[[list[Any]], str]) -> None:
    """Refuse to go on where a value differs between the processes.

    Raises:
        InputError: `message(values)`, said by the first process.
    """
    values = everyones(value)
    if any(item != values[0] for item in values):
        if rank():
            raise SilentError("")
        raise InputError(message(values))


@contextmanager
def ending_together(run: Path) -> Iterator[None]:
    """Around a training: what ends one process ends all, and one of them says it, on one line.

    A process that is killed closes its connections, so the others' next sum fails at once; a machine that vanishes
    without a word is noticed when torch's time limit is over (30 minutes).

    Args:
        run: the run folder, whose checkpoint is named.

    Raises:
        TrainingError: if another process was lost.
    """
    try:
        yield
    except Exception as error:
        if world_size() == 1:
            raise
        lost = is_lost(error)
        said = _said_before(lost)
        if said and (lost or isinstance(error, CtsegError)):
            raise SilentError("") from None
        if lost:
            raise TrainingError(f"{LOST}; {way_out(run)}") from None
        raise


def is_lost(error: Exception) -> bool:
    """Whether an error says that another process went away."""
    if isinstance(error, distributed.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in LOST_WORDS)


def _said_before(lost: bool) -> bool:
    """Whether another process says what ended the training; of those that ask, the first one has to."""
    if lost and LAUNCHED in os.environ:
        return True
    try:
        store = distributed.distributed_c10d._get_default_store()
        return int(store.add("ctseg-said", 1)) > 1
    except RuntimeError:  # the first process kept the store, and is gone
        return not lost or rank() != 1


def leave() -> None:
    """End the group at the end of a training that went well."""
    if _together():
        distributed.destroy_process_group()
