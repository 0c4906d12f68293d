"""Recorded steps: when they are recorded anew, what is done where that fails, and that checkpoints go on anywhere."""

from __future__ import annotations

import copy
import gc
import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.generator import AmdGenerator
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.segmentation.steps import make_training, training_step
from ctseg.segmentation.terms import Batch as SegmenterBatch
from ctseg.synthesis.objective import CycleObjective
from ctseg.training import graphs
from ctseg.training.graphs import WARM_UP, RecordedStep, make_plain, make_recordable, wanted
from ctseg.training.loop import LossMeter
from ctseg.training.settings import AdaptationSettings, SynthesisSettings


class Recorder:
    """In place of a CUDA graph: plays a step back by calling it."""

    def __init__(self, error: str = "") -> None:
        self.error, self.records, self.plays = error, 0, 0

    def __call__(self, step: graphs.Step, tensors: Sequence[Tensor], stream: Any) -> graphs.Play:
        if self.error:
            raise RuntimeError(self.error)
        self.records += 1

        def play(tensors: Sequence[Tensor]) -> graphs.Losses:
            self.plays += 1
            return step(tensors)

        return play


def net_and_step(optimiser: str = "sgd") -> tuple[nn.Module, torch.optim.Optimizer, graphs.Step]:
    torch.manual_seed(0)
    net = nn.Linear(3, 1)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    mover = kinds[optimiser](net.parameters(), lr=0.1)

    def step(tensors: Sequence[Tensor]) -> graphs.Losses:
        mover.zero_grad(set_to_none=True)
        loss = net(tensors[0]).square().mean()
        loss.backward()
        mover.step()
        return {"loss": loss.detach()}

    return net, mover, step


def test_a_step_is_recorded_after_some_to_warm_up_and_gives_the_same() -> None:
    recorder = Recorder()
    batches = [torch.randn(2, 3, generator=torch.Generator().manual_seed(place)) for place in range(WARM_UP + 4)]
    plain, _, step = net_and_step()
    expected = [float(step([batch])["loss"]) for batch in batches]
    net, mover, step = net_and_step()
    recorded = RecordedStep(step, [mover], recorder)
    assert [float(recorded([batch], 1.0)["loss"]) for batch in batches] == expected
    assert (recorder.records, recorder.plays) == (1, 4)
    assert torch.equal(net.weight, plain.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["rate", "size"])
def test_another_rate_or_size_is_recorded_anew(change: str) -> None:
    recorder = Recorder()
    _, mover, step = net_and_step()
    recorded = RecordedStep(step, [mover], recorder)
    for _ in range(WARM_UP + 2):
        recorded([torch.ones(2, 3)], 1.0)
    for _ in range(WARM_UP + 2):
        recorded([torch.ones(4 if change == "size" else 2, 3)], 0.5 if change == "rate" else 1.0)
    assert (recorder.records, recorder.plays) == (2, 4)


def test_what_cannot_be_recorded_runs_on_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    plain, _, step = net_and_step()
    for _ in range(WARM_UP + 3):
        step([torch.ones(2, 3)])
    net, mover, step = net_and_step()
    recorded = RecordedStep(step, [mover], Recorder("operation not permitted when stream is capturing"))
    with caplog.at_level(logging.WARNING, "ctseg"):
        for _ in range(WARM_UP + 3):
            recorded([torch.ones(2, 3)], 1.0)
    assert [record.message for record in caplog.records] == [
        "a training step cannot be recorded (operation not permitted when stream is capturing); going on without"
    ]
    assert torch.equal(net.weight, plain.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", ["", "capture failed"])
def test_no_graph_of_an_earlier_training_is_freed_while_one_is_recorded(error: str) -> None:
    class Graph:
        """In a cycle, as a training's step and the graph of it are."""

        def __init__(self) -> None:
            self.me = self

    earlier, seen = weakref.ref(Graph()), []

    class Watching(Recorder):
        def __call__(self, step: graphs.Step, tensors: Sequence[Tensor], stream: Any) -> graphs.Play:
            seen.append((earlier(), gc.isenabled()))
            return super().__call__(step, tensors, stream)

    _, mover, step = net_and_step()
    recorded = RecordedStep(step, [mover], Watching(error))
    for _ in range(WARM_UP + 2):
        recorded([torch.ones(2, 3)], 0)
    assert seen == [(None, False)]
    assert gc.isenabled()


def test_a_state_that_was_recorded_goes_on_as_any_other() -> None:
    """As a checkpoint of a GPU's training on a machine without one."""
    net, mover, step = net_and_step("adam")
    for _ in range(3):
        step([torch.ones(2, 3)])
    saved = copy.deepcopy((net.state_dict(), mover.state_dict()))
    step([torch.ones(2, 3)])
    expected = net.weight.detach().clone()  # type: ignore[operator]
    other, mover, step = net_and_step("adam")
    make_recordable([mover])
    recorded = mover.state_dict()
    assert recorded["param_groups"][0]["capturable"]
    assert recorded["param_groups"][0]["fused"]
    other.load_state_dict(saved[0])
    mover.load_state_dict({"state": saved[1]["state"], "param_groups": recorded["param_groups"]})
    make_plain([mover])
    step([torch.ones(2, 3)])
    assert torch.equal(other.weight, expected)  # type: ignore[arg-type]


def test_nothing_is_recorded_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(graphs.SWITCH, "1")
    assert not wanted(torch.device("cpu"))
    assert wanted(torch.device("cuda"))
    monkeypatch.setenv(graphs.SWITCH, "0")
    assert not wanted(torch.device("cuda"))


def looks_at_numbers(run: Callable[[], object]) -> int:
    """How often a number is fetched from the device, which waits for a GPU; torch's Adam fetches its own counts."""
    with profile(activities=[ProfilerActivity.CPU]):
        pass
    with profile(activities=[ProfilerActivity.CPU]) as looked:
        run()
    counts = {event.key: event.count for event in looked.key_averages()}
    assert counts["aten::convolution"] > 10
    return counts.get("aten::_local_scalar_dense", 0)


def counts_of_adam(optimisers: Iterable[torch.optim.Optimizer]) -> int:
    """One for each tensor that Adam moves; on the processor, whatever the weights are on."""
    groups = [group for item in optimisers if isinstance(item, torch.optim.Adam) for group in item.param_groups]
    return sum(len(group["params"]) for group in groups)


def test_a_step_of_stage_1_waits_for_no_number() -> None:
    settings = SynthesisSettings(discriminator_width=4, features_width=4, lesion_width=4)
    context = ObjectiveContext(settings, torch.device("cpu"), nullcontext)
    objective = CycleObjective(AmdGenerator(width=4, growth=2, layers=2), context)
    images = torch.rand(2, 1, 32, 32) * 2 - 1
    batch, meter = Batch(images, (images > 0.8).float(), -images), LossMeter(0)
    looks = looks_at_numbers(lambda: meter.add(objective.step(batch)))
    assert looks == counts_of_adam(objective.optimisers.values()) > 0


def test_a_step_of_stage_2_waits_for_no_number() -> None:
    settings = AdaptationSettings(discriminator_width=4)
    network = FcnVgg16(width=4)
    training = make_training(network, settings, device=torch.device("cpu"), autocast=nullcontext, seed=0)
    images = torch.rand(2, 1, 32, 32) * 2 - 1
    batch = SegmenterBatch(images, (images > 0.8).float(), -images, np.random.default_rng(0))
    meter = LossMeter(0)
    looks = looks_at_numbers(lambda: meter.add(training_step(training, batch)))
    assert looks == counts_of_adam(training.optimisers) > 0
