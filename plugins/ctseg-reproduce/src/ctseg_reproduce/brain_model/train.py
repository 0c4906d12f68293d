"""Train the brain network, on a CPU or a GPU, resumable by the step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ctseg.errors import InputError
from ctseg.files import write_with
from ctseg.preprocess.brain_slices import SOFT_HU, WIDE_HU
from ctseg_reproduce.brain_model.augment import augmented
from ctseg_reproduce.brain_model.network import TrainedUNet
from ctseg_reproduce.brain_model.pool import Batch, Pool

CANVAS = 112
"""Height and width of a training slice in pixels of 2 mm."""
LEARNING_RATE = 4e-3
WARM_UP = 100
SLICES = {"phantom": 60, "mean": 10, "drawn": 8, "template": 18}
"""Slices of every group of heads in a batch; groups that are not there are left out."""
AVERAGE = 0.999
"""Of the moving average of the weights that is kept in the end; less in the first steps."""
SAVE_EVERY, SAVE_SECONDS = 200, 60.0
"""The state is written after so many steps, or as soon as so much time has passed."""

Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Length:
    """How long to train: the rate of learning falls to 0 at whichever end comes first."""

    steps: int
    seconds: float = math.inf

    def done(self, step: int, seconds: float) -> float:
        """Share that is behind."""
        return min(1.0, max(step / self.steps, seconds / self.seconds))


@dataclass
class State:
    """What training changes."""

    network: TrainedUNet
    average: TrainedUNet
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def new(cls, seed: int, device: torch.device) -> State:
        """Before the first step."""
        torch.manual_seed(seed)
        network = TrainedUNet().to(device)
        return cls(
            network, deepcopy(network), torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
        )

    def follow(self) -> None:
        """Move the average towards the network; the first steps are soon forgotten."""
        share = 1 - min(AVERAGE, (1 + self.step) / (10 + self.step))
        kept, new = (
            [value for value in one.state_dict().values() if value.is_floating_point()]
            for one in (self.average, self.network)
        )
        torch._foreach_lerp_(kept, new, share)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        state = {
            "network": self.network.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(), "step": self.step, "seconds": self.seconds,
        }  # fmt: skip
        write_with(path, lambda temporary: torch.save(state, temporary))

    def load(self, path: Path) -> None:
        """Continue from a stored state.

        Raises:
            InputError: if the file is damaged.
        """
        try:
            state = torch.load(path, weights_only=True, map_location=next(self.network.parameters()).device)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except (RuntimeError, UnpicklingError, KeyError, ValueError, EOFError, OSError) as error:
            raise InputError(f"{path}: cannot be read; remove it and call again") from error


def network_input(hu: Tensor) -> Tensor:
    """(B, 3, H, W) HU -> (B, 6, H, W): as `ctseg.preprocess.brain_slices.windows`."""
    return torch.cat([((hu - low) / (high - low)).clamp(0, 1) for low, high in (SOFT_HU, WIDE_HU)], dim=1)


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy with the share of brain in each pixel, and one minus the soft Dice of the batch."""
    share, brain = torch.sigmoid(logits) * batch.counted, batch.brain * batch.counted
    dice = (2 * (share * brain).sum() + 1) / (share.sum() + brain.sum() + 1)
    entropy = binary_cross_entropy_with_logits(logits, batch.brain, batch.counted)
    return entropy + 0.5 * (1 - dice)


def train(pool: Pool, folder: Path, *, length: Length, seed: int, report: Report) -> TrainedUNet:
    """Train, or continue from `folder/training.pt`, and return the averaged network, on the CPU.

    Args:
        pool: the slices; it is trained on their device.
        folder: for the state.
        length: how long in all.
        seed: of weights, order and augmentation.
        report: called with (steps done, steps in all, note) now and then.
    """
    device = pool.hu.device
    state, path = State.new(seed, device), folder / "training.pt"
    if path.exists():
        state.load(path)
    counts = {name: count for name, count in SLICES.items() if name in pool.groups}
    started = time.perf_counter() - state.seconds
    losses: list[Tensor] = []
    while (done := length.done(state.step, time.perf_counter() - started)) < 1:
        warm = min(1.0, (state.step + 1) / WARM_UP)
        for group in state.optimiser.param_groups:
            group["lr"] = LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * done))
        losses.append(_step(state, pool, counts, seed))
        if state.step % SAVE_EVERY == 0 or time.perf_counter() - started > state.seconds + SAVE_SECONDS:
            state.seconds = time.perf_counter() - started
            state.save(path)
            report(state.step, length.steps, f"loss {float(torch.stack(losses).mean()):.4f}, {state.seconds:.0f} s")
            losses.clear()
    state.seconds = time.perf_counter() - started
    state.save(path)
    report(state.step, length.steps, f"{state.seconds:.0f} s in all")
    result = TrainedUNet()
    result.load_state_dict({name: value.cpu() for name, value in state.average.state_dict().items()})
    return result.eval()


def _step(state: State, pool: Pool, counts: dict[str, int], seed: int) -> Tensor:
    """One batch; returns its loss."""
    own = int(np.random.default_rng((seed, 9, state.step)).integers(2**31))
    rng = torch.Generator(pool.hu.device).manual_seed(own)
    with torch.no_grad():
        batch = augmented(pool.batch(counts, rng), rng, CANVAS)
    loss = loss_of(state.network(network_input(batch.hu)), batch)
    state.optimiser.zero_grad()
    loss.backward()
    state.optimiser.step()
    state.follow()
    state.step += 1
    return loss.detach()
