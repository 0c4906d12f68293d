"""How fast this machine is right now, beside the one where the demo's steps were timed; measured in about a second.

Two pieces of work represent the two kinds of steps: convolutions forwards and backwards for training, filters and
compression on two threads for the rest. Other work on the machine slows them as it will slow the steps.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

REFERENCE_S = {"network": 0.055, "arrays": 0.075}
"""What one round takes on two quiet cores of an AMD EPYC of the Zen 4 kind, where the demo's `expect_s` are from."""
MEASURED_S = 0.4
"""Rounds are repeated for so long, three at least."""
TRAINING = ("synth-train", "das-train", "finetune")
"""Commands whose steps are of the first kind."""
BOUNDS = (0.1, 20.0)
"""A machine is taken for no faster and no slower than this: then something else than its speed was measured."""


def slowness() -> dict[str, float]:
    """For either kind of work, how many times as long it takes as on the reference machine."""
    low, high = BOUNDS
    rounds = {"network": _network(), "arrays": _arrays}
    return {kind: min(high, max(low, _seconds(work) / REFERENCE_S[kind])) for kind, work in rounds.items()}


def expected(steps: list[dict[str, Any]], slower: dict[str, float]) -> list[dict[str, Any]]:
    """A study's steps with their `expect_s` as this machine will take."""
    kinds = ["network" if step["command"] in TRAINING else "arrays" for step in steps]
    return [
        {**step, "expect_s": max(1, round(step.get("expect_s", 0) * slower[kind]))}
        for step, kind in zip(steps, kinds, strict=True)
    ]


def _seconds(work: Callable[[], Any]) -> float:
    """Mean seconds of a round, after one to warm up."""
    work()
    started, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - started < MEASURED_S:
        work()
        rounds += 1
    return (time.perf_counter() - started) / rounds


def _network() -> Callable[[], Any]:
    """A step of a small network, on as many threads as a training would use."""
    import torch

    with torch.random.fork_rng(devices=()):  # the trainings draw their first weights as without this
        layers = [torch.nn.Conv2d(count, 32, 3, padding=1) for count in (1, 32, 32, 32, 32)]
        module: Any = torch.nn.Sequential(*layers)
        module = module.to(memory_format=torch.channels_last)
        images = torch.rand(4, 1, 96, 96)
    return lambda: module(images).square().mean().backward()


def _arrays() -> None:
    """What phantom, preprocess and segment mostly do, in two threads that need not wait for each other."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_filtered, range(2)))


def _filtered(seed: int) -> int:
    import numpy as np
    from scipy import ndimage

    noise = np.random.default_rng(seed).standard_normal((16, 256, 256), dtype=np.float32)
    for _ in range(4):
        noise = ndimage.gaussian_filter(noise, (0, 2.0, 2.0))
    parts, _count = ndimage.label(noise > 0)
    return len(zlib.compress(parts.astype(np.int16).tobytes(), 1))
