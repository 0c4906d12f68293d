"""What a GPU takes for the networks of ctseg and one step of each training, as shares of its own matrix rate.

Run it on a machine with a GPU: `python tests/benchmarks/gpu_timings.py > gpu.json`. Each number is the median of
repeated runs, after some to warm up, with the device waited for; the matrix rate is measured in the same run.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ctseg_reproduce.scales import CPU, GPU, Scale
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
from ctseg.training.settings import AdaptationSettings, SynthesisSettings

REPEATS, WARM_UP = 20, 5
SLICES = 60


def median_s(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median seconds of a call, the device waited for."""
    for _ in range(WARM_UP):
        run()
    spent = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def peak_tflops(dtype: torch.dtype, size: int = 8192) -> float:
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


def stage1(scale: Scale, precision: str, system: str = "proposed", batch_size: int = 0) -> dict[str, Any]:
    """One step of the training of a synthesis network."""
    fabric = make_fabric("cuda", precision)
    values = {**presets.SYNTHESIS[scale.preset], **synthesis_settings(SYNTHESIS[system], scale)}
    flat = {name: value for name, value in values.items() if "generator" not in name}
    settings = resolve(SynthesisSettings, flat)
    sizes = presets.SYNTHESIS[scale.preset]["generator_settings"]
    generator = AmdGenerator(**sizes).cuda().to(memory_format=torch.channels_last)
    objective = make_objective(generator, ObjectiveContext(settings, fabric.device, fabric.autocast))
    images = torch.rand(batch_size or settings.batch_size, 1, scale.size, scale.size, device="cuda") * 2 - 1
    batch = Batch(images, (images > 0.8).float(), -images)
    return step_of(lambda: objective.step(batch), len(images))


def stage2(scale: Scale, precision: str, row: str = "amd-das") -> dict[str, Any]:
    """One step of the training of a segmenter with its adversary."""
    fabric = make_fabric("cuda", precision)
    values = {**presets.ADAPTATION[scale.preset], **adaptation_settings(ROWS[row], scale)}
    settings = resolve(AdaptationSettings, {name: value for name, value in values.items() if "segmenter" not in name})
    sizes = presets.ADAPTATION[scale.preset]["segmenter_settings"]
    network = FcnVgg16(**sizes).cuda().to(memory_format=torch.channels_last)
    training = make_training(network, settings, device=fabric.device, autocast=fabric.autocast, seed=0)
    images = torch.rand(settings.batch_size, 1, scale.size, scale.size, device="cuda") * 2 - 1
    batch = SegmenterBatch(images, (images > 0.8).float(), -images, np.random.default_rng(0))
    return step_of(lambda: training_step(training, batch), len(images))


def step_of(step: Callable[[], object], slices: int) -> dict[str, Any]:
    """Seconds and rate of a step."""
    step()
    with FlopCounterMode(display=False) as counter:
        step()
    seconds = median_s(step)
    memory = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return {"seconds": seconds, "slices": slices, "tflops": counter.get_total_flops() / seconds / 1e12,
            "gib": round(memory, 2)}  # fmt: skip


def main() -> None:
    """Measure all, and print it as JSON."""
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    peaks = {"bf16": peak_tflops(torch.bfloat16)}
    torch.backends.cuda.matmul.allow_tf32 = True
    peaks["32"] = peak_tflops(torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = False
    found["matrix_tflops"] = peaks
    for name, network, size in (
        ("default model, 144 x 144", UNet(width=32, depth=3, stem=2), 144),
        ("the paper's FCN, 240 x 240", FcnVgg16(), 240),
    ):
        for precision in ("32", "bf16"):
            found[f"{name}, {precision}"] = segment_s(network, size, precision)
    for scale in (CPU, GPU):
        for precision in ("32", "bf16"):
            for stage, measure in (("stage 1", stage1), ("stage 2", stage2)):
                try:
                    result = measure(scale, precision)
                    result["share_of_matrix_rate"] = round(result["tflops"] / peaks[precision], 4)
                except Exception as error:
                    result = {"error": f"{type(error).__name__}: {error}"}
                found[f"{stage}, scale {scale.name}, {precision}"] = result
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
