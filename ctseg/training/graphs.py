"""One step of a training, recorded once as a CUDA graph and played back: a GPU then waits for no kernel to be started.

A step of either stage starts thousands of small kernels, and at the paper's sizes an H200 computes faster than one
processor core can start them (docs/performance-gpu.md). Where a step cannot be recorded, it runs as it is written.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ctseg.errors import first_line
from ctseg.training.processes import world_size

Losses = dict[str, Tensor]
Step = Callable[[Sequence[Tensor]], Losses]
Play = Callable[[Sequence[Tensor]], Losses]
SWITCH = "CTSEG_CUDA_GRAPHS"
"""Environment: 1 records steps on a GPU."""
WARM_UP = 3
"""Steps that run as they are written before one is recorded: libraries set themselves up in them."""
logger = logging.getLogger("ctseg")


def wanted(device: torch.device) -> bool:
    """Whether steps on this device are to be recorded: on a GPU that one process trains on, and switched on."""
    return device.type == "cuda" and world_size() == 1 and os.environ.get(SWITCH, "") == "1"


class RecordedStep:
    """A training step that records itself; called in place of it.

    Args:
        step: tensors of one batch -> named losses, detached scalars. It may draw nothing at random and must not wait
            for the device; all else that it does, updates of weights included, is recorded.
        optimisers: all that the step moves.
        record: makes the function that plays a step back; the default records a CUDA graph.
        stream: where everything runs; only a test leaves it out.
    """

    def __init__(
        self,
        step: Step,
        optimisers: Iterable[torch.optim.Optimizer],
        record: Callable[[Step, Sequence[Tensor], Any], Play] | None = None,
        stream: Any = None,
    ) -> None:
        self._step, self._optimisers = step, list(optimisers)
        self._record, self._stream = record or record_graph, stream
        self._play: Play | None = None
        self._key: Hashable = None
        self._seen, self._gave_up = 0, False

    def __call__(self, tensors: Sequence[Tensor], state: Hashable) -> Losses:
        """One step.

        Args:
            tensors: of the batch.
            state: all else that the step depends on, such as the learning rate: where it changes, the step is recorded
                again.
        """
        if self._gave_up:
            return self._step(tensors)
        key = (state, tuple((item.shape, item.dtype, item.device) for item in tensors))
        if key != self._key:
            self._key, self._play, self._seen = key, None, 0
            make_recordable(self._optimisers)
        self._seen += 1
        if self._play is None and self._seen <= WARM_UP:
            return self._beside(tensors)
        try:
            if self._play is None:
                with garbage_waits():
                    self._play = self._record(self._step, tensors, self._stream)
        except RuntimeError as error:
            self._gave_up = True
            logger.warning("a training step cannot be recorded (%s); going on without", first_line(error, None))
            make_plain(self._optimisers)
            return self._step(tensors)
        return self._play(tensors)

    def _beside(self, tensors: Sequence[Tensor]) -> Losses:
        """The step as it is written, on the stream that it will be recorded on."""
        if self._stream is None:
            return self._step(tensors)
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            losses = self._step(tensors)
        current.wait_stream(self._stream)
        return losses


@contextmanager
def garbage_waits() -> Iterator[None]:
    """Collect garbage now, and none within: a graph of an earlier training, freed while one is recorded, spoils it.

    Seen on an H100 in one of 210 folds of `finetune`.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def recorded_step(step: Step, optimisers: Iterable[torch.optim.Optimizer], device: torch.device) -> RecordedStep | None:
    """The step, recorded where `wanted`; else None."""
    return RecordedStep(step, optimisers, stream=torch.cuda.Stream(device)) if wanted(device) else None


def record_graph(step: Step, tensors: Sequence[Tensor], stream: Any) -> Play:
    """Record a step as a CUDA graph; recording runs nothing.

    Raises:
        RuntimeError: if something in it cannot be recorded.
    """
    inputs = [item.clone() for item in tensors]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        losses = step(inputs)
        values = torch.stack([item.float() for item in losses.values()])
    names = list(losses)

    def play(tensors: Sequence[Tensor]) -> Losses:
        for kept, given in zip(inputs, tensors, strict=True):
            kept.copy_(given)
        graph.replay()
        return dict(zip(names, values.clone().unbind(), strict=True))

    return play


def make_recordable(optimisers: Iterable[torch.optim.Optimizer]) -> None:
    """Have optimisers count their steps on the device, in one kernel for all weights."""
    _set_flags(optimisers, True)


def make_plain(optimisers: Iterable[torch.optim.Optimizer]) -> None:
    """As torch makes optimisers: a checkpoint written on a GPU then goes on anywhere."""
    _set_flags(optimisers, False)


def _set_flags(optimisers: Iterable[torch.optim.Optimizer], recordable: bool) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            if "capturable" in group:
                group["capturable"] = recordable
            if "fused" in group:
                group["fused"] = True if recordable else None
            for parameter in group["params"]:
                _move_count(optimiser.state.get(parameter, {}), parameter.device if recordable else "cpu")


def _move_count(state: Mapping[str, Any], device: torch.device | str) -> None:
    count = state.get("step")
    if isinstance(count, Tensor) and count.device != torch.device(device):
        state["step"] = count.to(device)  # type: ignore[index]
