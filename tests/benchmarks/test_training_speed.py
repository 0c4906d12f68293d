"""One step of each stage at the demo's size, bf16 beside fp32 in the same run; the ratio is what counts."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.generator import AmdGenerator
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.settings import resolve
from ctseg.synthesis.objective import make_objective
from ctseg.training import presets
from ctseg.training.device import make_fabric
from ctseg.training.settings import SynthesisSettings

SIZE, STEPS = 96, 5

pytestmark = pytest.mark.slow


def median_ms(step: Callable[[], object]) -> float:
    """Median of a few steps after one to warm up."""
    step()
    spent = []
    for _ in range(STEPS):
        started = time.perf_counter()
        step()
        spent.append(time.perf_counter() - started)
    return 1000 * sorted(spent)[STEPS // 2]


def stage1_ms(precision: str) -> float:
    settings = resolve(SynthesisSettings, presets.SYNTHESIS["demo"])
    fabric = make_fabric("cpu", precision)
    generator = AmdGenerator(**settings.generator_settings).to(memory_format=torch.channels_last)
    objective = make_objective(generator, ObjectiveContext(settings, fabric.device, fabric.autocast))
    images = torch.rand(settings.batch_size, 1, SIZE, SIZE) * 2 - 1
    batch = Batch(images, (images > 0.8).float(), -images)
    return median_ms(lambda: objective.step(batch))


def segment_ms(precision: str) -> float:
    fabric = make_fabric("cpu", precision)
    network = FcnVgg16(width=16).to(memory_format=torch.channels_last).eval()
    images = torch.rand(24, 1, SIZE, SIZE) * 2 - 1

    def step() -> None:
        with torch.no_grad(), fabric.autocast():
            network(images)

    return median_ms(step)


def test_bf16_beside_fp32(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(2)
    lines = []
    for name, measure in (("stage 1 step, batch 4", stage1_ms), ("FCN forward, 24 slices", segment_ms)):
        half, full = measure("bf16"), measure("32")
        assert half > 0
        lines.append(f"{name}: bf16 {half:.0f} ms, fp32 {full:.0f} ms, ratio {full / half:.2f}")
    torch.set_num_threads(1)
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201 - the benchmark's result
