"""One step of each stage at the paper's widths and 240 x 240, beside the machine's own matrix rate, and in bf16."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from interleaved import Row, least_seconds
from torch.utils.flop_counter import FlopCounterMode

from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.generator import AmdGenerator
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.segmentation.steps import make_training, training_step
from ctseg.segmentation.terms import Batch as SegmenterBatch
from ctseg.settings import resolve
from ctseg.synthesis.objective import make_objective
from ctseg.training import presets
from ctseg.training.device import make_fabric
from ctseg.training.settings import AdaptationSettings, SynthesisSettings

Step = Callable[[], object]


def stage1(preset: str, size: int, precision: str) -> Step:
    """A step of the synthesis network of a preset, batch 1."""
    values = presets.SYNTHESIS[preset]
    settings = resolve(SynthesisSettings, {key: value for key, value in values.items() if "generator" not in key})
    fabric = make_fabric("cpu", precision)
    generator = AmdGenerator(**values.get("generator_settings", {})).to(memory_format=torch.channels_last)
    objective = make_objective(generator, ObjectiveContext(settings, fabric.device, fabric.autocast))
    images = torch.rand(1, 1, size, size) * 2 - 1
    batch = Batch(images, (images > 0.8).float(), -images)
    return lambda: objective.step(batch)


def stage2(preset: str, size: int, precision: str) -> Step:
    """A step of the segmenter with its adversary of a preset, batch 1."""
    values = presets.ADAPTATION[preset]
    settings = resolve(AdaptationSettings, {key: value for key, value in values.items() if "segmenter" not in key})
    fabric = make_fabric("cpu", precision)
    network = FcnVgg16(**values.get("segmenter_settings", {})).to(memory_format=torch.channels_last)
    training = make_training(network, settings, device=fabric.device, autocast=fabric.autocast, seed=0)
    images = torch.rand(2, 1, size, size) * 2 - 1
    batch = SegmenterBatch(images, (images > 0.8).float(), -images, np.random.default_rng(0))
    return lambda: training_step(training, batch)


def operations(step: Step) -> int:
    """Multiplications and additions of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def matrix_work(flops: int, size: int = 1024) -> Step:
    """Products of square matrices of about as many operations."""
    one, other = torch.rand(size, size), torch.rand(size, size)
    repeats = max(1, round(flops / (2 * size**3)))

    def products() -> None:
        for _ in range(repeats):
            one @ other

    return products


def bf16_row(size: int = 1024, repeats: int = 20, rounds: int = 2) -> Row:
    """What bfloat16 can give at most on this machine: matrix products beside the same ones in float32."""
    wide = torch.rand(size, size)
    half = wide.bfloat16()
    ways = {
        "bfloat16": lambda: [half @ half for _ in range(repeats)],
        "float32": lambda: [wide @ wide for _ in range(repeats)],
    }
    spent, _ = least_seconds(ways, rounds)
    what = f"{repeats} products of matrices of {size} x {size}"
    return Row(what, spent, "what bfloat16 gives at most on this machine")


def step_rows(preset: str, size: int, rounds: int = 2) -> list[Row]:
    """Each stage beside matrix products of as many operations, and bf16 beside float32."""
    found = []
    for stage, make in (("stage 1", stage1), ("stage 2", stage2)):
        step, half = make(preset, size, "32"), make(preset, size, "bf16")
        flops = operations(step)
        what = f"a step of {stage}, widths of `{preset}`, {size} x {size}"
        beside, _ = least_seconds({"ctseg, float32": step, "matrix products": matrix_work(flops)}, rounds)
        found.append(Row(what, beside, f"as many operations: {flops / 1e9:.0f} GFLOP"))
        mixed, _ = least_seconds({"--precision bf16": half, "float32": step}, rounds)
        found.append(Row(what, mixed, "mixed precision"))
    return found


def rows() -> list[Row]:
    """All comparisons of this file."""
    return [*step_rows("paper", 240), bf16_row()]


@pytest.mark.slow
def test_steps_of_the_smallest_preset_are_measured() -> None:
    started = time.process_time()
    found = step_rows("smoke", 32, 1)
    assert len(found) == 4
    found.append(bf16_row(32, 2, 1))
    assert all(0 < seconds < time.process_time() - started for row in found for seconds in row.seconds.values())
