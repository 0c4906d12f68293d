"""What `torch.compile` does to a training step of stage 2 on this CPU: its own time, and a step beside one without it.

    python tests/benchmarks/compiled_step.py [--preset demo] [--size 96]

CPU seconds of one thread, the least of some steps, both in turn; the compiler's own processes count.
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import numpy as np
import torch
from interleaved import least_seconds

from ctseg.networks.fcn import FcnVgg16
from ctseg.segmentation.steps import make_training, training_step
from ctseg.segmentation.terms import Batch
from ctseg.settings import resolve
from ctseg.training import presets
from ctseg.training.device import make_fabric
from ctseg.training.settings import AdaptationSettings


def step(preset: str, size: int, batch_size: int, *, compiled: bool):
    """A step of the segmenter with its adversary, and what it makes of its batch."""
    values = presets.ADAPTATION[preset]
    settings = resolve(AdaptationSettings, {key: value for key, value in values.items() if "segmenter" not in key})
    fabric = make_fabric("cpu", "32")
    torch.manual_seed(0)
    network = FcnVgg16(**values.get("segmenter_settings", {})).to(memory_format=torch.channels_last)
    if compiled:
        network.compile()
    training = make_training(network, settings, device=fabric.device, autocast=fabric.autocast, seed=0)
    torch.manual_seed(1)
    images = torch.rand(2 * batch_size, 1, size, size) * 2 - 1
    batch = Batch(images, (images > 0.8).float(), -images, np.random.default_rng(0))
    return lambda: training_step(training, batch)


def main() -> None:
    """Measure and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plain, compiled = (step(given.preset, given.size, given.batch_size, compiled=which) for which in (False, True))
    times = []
    for work in (plain, compiled):
        before = os.times()
        print(work())  # noqa: T201
        after = os.times()
        times.append(sum(after[:4]) - sum(before[:4]))
    spent, _ = least_seconds({"torch.compile": compiled, "as it is": plain}, 4)
    ours, plain_s = spent["torch.compile"], spent["as it is"]
    what = f"stage 2, {given.preset}, {given.batch_size} x {given.size} x {given.size}"
    said = f"{ours:.3f} CPU s compiled, {plain_s:.3f} as it is, ratio {plain_s / ours:.2f}"
    print(f"{what}: {said}; the first step {times[1]:.0f} and {times[0]:.1f} CPU s")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
