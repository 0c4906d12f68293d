"""What a GPU takes for the networks of ctseg and one step of each training, as shares of its own matrix rate.

Run it on a machine with a GPU: `python tests/benchmarks/gpu_timings.py --out gpu.json`. Each number is the median of
repeated runs, after some to warm up, with the device waited for; the matrix rate is measured in the same run. What is
asked for first is measured first; where the time is up, the rest is left out and named.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ctseg_reproduce.scales import GPU
from ctseg_reproduce.systems import ROWS, SYNTHESIS, adaptation_settings, synthesis_settings
from torch.utils.flop_counter import FlopCounterMode

from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.generator import AmdGenerator
from ctseg.networks.unet import UNet
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.segmentation.steps import make_training, training_step
from ctseg.segmentation.terms import Batch as SegmenterBatch
from ctseg.settings import resolve
from ctseg.synthesis.objective import make_objective
from ctseg.training import presets
from ctseg.training.device import make_fabric
from ctseg.training.graphs import RecordedStep
from ctseg.training.settings import AdaptationSettings, SynthesisSettings

REPEATS, WARM_UP, LONGEST_S = 20, 4, 1.2
SLICES = 60


@dataclass(frozen=True)
class Case:
    """One way to run a step."""

    stage: int
    batch: int
    precision: str = "bf16"
    graph: bool = False
    """Recorded as a CUDA graph."""
    tuned: bool = False
    """`torch.backends.cudnn.benchmark`."""
    channels_last: bool = True
    fused: bool = False
    """Optimisers in one kernel for all weights; recorded steps always."""
    size: int = GPU.size

    def name(self) -> str:
        """In words."""
        parts = [f"stage {self.stage}", f"batch {self.batch}", f"{self.size} x {self.size}", self.precision]
        told = {"graph": self.graph, "tuned": self.tuned, "contiguous": not self.channels_last, "fused": self.fused}
        return ", ".join(parts + [word for word, on in told.items() if on])


def cases() -> Iterator[Case]:
    """In the order of their worth."""
    for stage, batches in ((1, (4, 16, 32)), (2, (12, 48, 96))):
        for batch in batches:
            first = Case(stage, batch)
            yield first
            yield replace(first, graph=True, tuned=True)
    for stage, batch in ((1, 4), (2, 12)):
        first = Case(stage, batch)
        yield replace(first, graph=True)
        yield replace(first, graph=True, tuned=True, channels_last=False)
        yield replace(first, fused=True)
        yield replace(first, tuned=True)
    yield Case(1, 16, graph=True, tuned=True, channels_last=False)
    for stage, batch in ((1, 4), (2, 12)):
        yield Case(stage, batch, precision="32")
        yield Case(stage, batch, precision="32", graph=True, tuned=True)


def median_s(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median seconds of a call, the device waited for."""
    for _ in range(WARM_UP):
        run()
    spent: list[float] = []
    while len(spent) < repeats and sum(spent) < LONGEST_S:
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def matrix_tflops(dtype: torch.dtype, size: int = 8192) -> float:
    """Trillions of operations a second of a product of two square matrices."""
    a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * size**3 / median_s(lambda: a @ b, 10) / 1e12


def segment_s(network: torch.nn.Module, size: int, precision: str) -> dict[str, Any]:
    """A scan of 60 slices from the processor's memory through a network and back."""
    fabric = make_fabric("cuda", precision)
    network = network.cuda().eval().to(memory_format=torch.channels_last)
    images = (torch.rand(SLICES, 1, size, size) * 2 - 1).pin_memory()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images.cuda())

    def run() -> torch.Tensor:
        with torch.inference_mode(), fabric.autocast():
            on_device = images.to("cuda", non_blocking=True).contiguous(memory_format=torch.channels_last)
            return torch.sigmoid(network(on_device).logits).cpu()

    seconds = median_s(run)
    return {"seconds": seconds, "tflops": counter.get_total_flops() / seconds / 1e12}


@dataclass(frozen=True)
class Work:
    """A step, and what it moves."""

    step: Callable[[Any], dict[str, torch.Tensor]]
    tensors: tuple[torch.Tensor, ...]
    optimisers: list[torch.optim.Optimizer]


def images_of(case: Case) -> tuple[torch.Tensor, ...]:
    """Source, mask and target of a step, the same for each case of a size."""
    draw = torch.Generator("cuda").manual_seed(0)
    images = torch.rand(case.batch, 1, case.size, case.size, device="cuda", generator=draw) * 2 - 1
    return images, (images > 0.8).float(), -images


def stage1(case: Case, system: str = "proposed") -> Work:
    """One step of the training of a synthesis network."""
    fabric = make_fabric("cuda", case.precision)
    values = {**presets.SYNTHESIS[GPU.preset], **synthesis_settings(SYNTHESIS[system], GPU)}
    flat = {name: value for name, value in values.items() if "generator" not in name}
    settings = resolve(SynthesisSettings, {**flat, "channels_last": case.channels_last})
    generator = AmdGenerator(**presets.SYNTHESIS[GPU.preset]["generator_settings"]).cuda()
    if case.channels_last:
        generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective: Any = make_objective(generator, ObjectiveContext(settings, fabric.device, fabric.autocast))
    return Work(
        lambda tensors: objective.step(Batch(*tensors)), images_of(case), list(objective.optimisers.values())
    )  # fmt: skip


def stage2(case: Case, row: str = "amd-das") -> Work:
    """One step of the training of a segmenter with its adversary."""
    fabric = make_fabric("cuda", case.precision)
    values = {**presets.ADAPTATION[GPU.preset], **adaptation_settings(ROWS[row], GPU)}  # type: ignore[arg-type]
    flat = {name: value for name, value in values.items() if "segmenter" not in name}
    settings = resolve(AdaptationSettings, {**flat, "channels_last": case.channels_last})
    network = FcnVgg16(**presets.ADAPTATION[GPU.preset]["segmenter_settings"])
    training = make_training(network, settings, device=fabric.device, autocast=fabric.autocast, seed=0)

    def step(tensors: Any) -> dict[str, torch.Tensor]:
        return training_step(training, SegmenterBatch(*tensors, np.random.default_rng(0)))

    return Work(step, images_of(case), list(training.optimisers))


def make_work(case: Case) -> Work:
    """The step of a case."""
    work = (stage1 if case.stage == 1 else stage2)(case)
    if case.fused:
        for group in (group for item in work.optimisers for group in item.param_groups):
            group["fused"] = True
    if not case.graph:
        return work
    recorded = RecordedStep(work.step, work.optimisers, stream=torch.cuda.Stream())
    return replace(work, step=lambda tensors: recorded(tensors, "the same"))


def operations_a_slice(stage: int) -> float:
    """Floating point operations of a step for one slice of a batch."""
    work = make_work(Case(stage, 2))
    work.step(work.tensors)
    with FlopCounterMode(display=False) as counter:
        work.step(work.tensors)
    return counter.get_total_flops() / 2


@contextmanager
def tuned(on: bool) -> Iterator[None]:
    """cuDNN measures its ways to convolve and takes the fastest."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def measure(case: Case, operations: float, peak: float) -> dict[str, Any]:
    """Seconds, rate, share of the matrix rate and memory of a step."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with tuned(case.tuned):
        work = make_work(case)
        seconds = median_s(lambda: work.step(work.tensors))
    tflops = operations * case.batch / seconds / 1e12
    return {
        "seconds": seconds, "slices_a_second": case.batch / seconds, "tflops": tflops,
        "share_of_matrix_rate": round(tflops / peak, 4), "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
    }  # fmt: skip


def losses_of(case: Case, steps: int = 8) -> list[dict[str, float]]:
    """The losses of the first steps, from the same weights."""
    torch.manual_seed(0)
    work = make_work(case)
    return [{name: float(value) for name, value in work.step(work.tensors).items()} for _ in range(steps)]


def largest_difference(first: Case, second: Case) -> float:
    """Largest difference of a loss over some steps, as a share of that loss."""
    pairs = zip(losses_of(first), losses_of(second), strict=True)
    return max(abs(a[name] - b[name]) / max(abs(a[name]), 1e-6) for a, b in pairs for name in a)


def guarded(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a measurement finds, or its error: the others go on."""
    try:
        return run()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}


def differences(stage: int, batch: int) -> dict[str, Any]:
    """How far a recorded step's losses are from a plain one's, and two plain runs from each other."""
    plain = Case(stage, batch, "32")
    return {
        "recorded": largest_difference(plain, replace(plain, graph=True)),
        "again": largest_difference(plain, plain),
    }


def measurements(found: dict[str, Any]) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Name and measurement of everything, the most telling first."""
    operations = found["operations_a_slice"]
    yield "losses, stage 1", lambda: differences(1, 4)
    yield "losses, stage 2", lambda: differences(2, 12)
    for case in cases():
        peak = found["matrix_tflops"][case.precision]
        yield case.name(), lambda case=case, peak=peak: measure(case, operations[str(case.stage)], peak)  # type: ignore[misc]
    for name, network, size in (
        ("default model, 144 x 144", UNet(width=32, depth=3, stem=2), 144),
        ("the paper's FCN, 240 x 240", FcnVgg16(), 240),
    ):
        for precision in ("32", "bf16"):
            yield (
                f"{name}, {precision}",
                lambda network=network, size=size, precision=precision: segment_s(network, size, precision),  # type: ignore[misc]
            )


def main(words: list[str] | None = None) -> None:
    """Measure all that there is time for, and write it as JSON after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600.0)
    given = parser.parse_args(words)
    until = time.monotonic() + given.seconds
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    peaks = {"bf16": matrix_tflops(torch.bfloat16)}
    torch.backends.cuda.matmul.allow_tf32 = True
    found["matrix_tflops"] = peaks | {"32": matrix_tflops(torch.float32)}
    torch.backends.cuda.matmul.allow_tf32 = False
    found["operations_a_slice"] = {str(stage): operations_a_slice(stage) for stage in (1, 2)}
    found["left_out"] = []
    for name, run in measurements(found):
        if time.monotonic() > until:
            found["left_out"].append(name)
            continue
        started = time.monotonic()
        found[name] = guarded(run)
        sys.stderr.write(f"{name}: {found[name]} ({time.monotonic() - started:.1f} s)\n")
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
