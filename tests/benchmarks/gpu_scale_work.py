"""How much arithmetic one (row, seed) of the scale `gpu` is: counted on one slice, so that it needs no GPU.

`python tests/benchmarks/gpu_scale_work.py` prints the counts, which are exact. What they mean in minutes depends
on what a GPU reaches, so that minutes are given for two rates.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext

import numpy as np
import torch
from ctseg_reproduce.scales import GPU
from ctseg_reproduce.systems import ROWS, SYNTHESIS, adaptation_settings, synthesis_settings
from torch.utils.flop_counter import FlopCounterMode

from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.generator import AmdGenerator
from ctseg.networks.resnet_generator import ResnetGenerator
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.segmentation.steps import make_training, training_step
from ctseg.segmentation.terms import Batch as SegmenterBatch
from ctseg.settings import resolve
from ctseg.synthesis.objective import make_objective
from ctseg.training import presets
from ctseg.training.settings import AdaptationSettings, SynthesisSettings, TrainingSettings

RATES = (50, 150)
"""Trillions a second: a twentieth and a seventh of an H100's dense bf16 peak; what is reached was not measured."""


def image() -> torch.Tensor:
    return torch.rand(1, 1, GPU.size, GPU.size) * 2 - 1


def whole(counter: FlopCounterMode, settings: TrainingSettings) -> float:
    """Trillions of operations of a stage, of one slice's step counted."""
    steps = (settings.epochs + settings.decay_epochs) * (settings.steps_per_epoch or 0)
    return counter.get_total_flops() * settings.batch_size * steps / 1e12


def stage1(system: str) -> float:
    """Trillions of operations of the whole stage."""
    values = {**presets.SYNTHESIS[GPU.preset], **synthesis_settings(SYNTHESIS[system], GPU)}
    generator = ResnetGenerator(**GPU.resnet) if SYNTHESIS[system].generator == "resnet" else AmdGenerator()
    flat = {name: value for name, value in values.items() if "generator" not in name}
    settings = resolve(SynthesisSettings, flat)
    objective = make_objective(generator, ObjectiveContext(settings, torch.device("cpu"), nullcontext))
    source = image()
    with FlopCounterMode(display=False) as counter:
        objective.step(Batch(source, (source > 0.8).float(), image()))
    return whole(counter, settings)


def stage2(row: str) -> float:
    """As `stage1`."""
    values = {**presets.ADAPTATION[GPU.preset], **adaptation_settings(ROWS[row], GPU)}  # type: ignore[arg-type]
    settings = resolve(AdaptationSettings, {name: value for name, value in values.items() if "segmenter" not in name})
    training = make_training(FcnVgg16(), settings, device=torch.device("cpu"), autocast=nullcontext, seed=0)
    source = image()
    batch = SegmenterBatch(source, (source > 0.8).float(), image(), np.random.default_rng(0))
    with FlopCounterMode(display=False) as counter:
        training_step(training, batch)
    return whole(counter, settings)


def main() -> None:
    """Print the operations of each stage of some rows, and the minutes that they take."""
    work = {f"stage 1, {name}": stage1(name) for name in ("proposed", "mask-cyclegan")}
    work |= {f"stage 2, {name}": stage2(name) for name in ("mr", "amd-das")}
    for name, value in work.items():
        slow, usual = (value / rate / 60 for rate in RATES)
        minutes = f"{slow:.1f} min at {RATES[0]} T/s, {usual:.1f} at {RATES[1]}"
        sys.stdout.write(f"{name}: {value / 1000:.1f} P operations, {minutes}\n")


if __name__ == "__main__":
    main()
