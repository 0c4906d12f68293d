"""Train the brain network, on a CPU or a GPU, resumable by the step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ctseg.preprocess.brain_slices import SOFT_HU, WIDE_HU
from ctseg_reproduce.brain_model.augment import augmented
from ctseg_reproduce.brain_model.network import TrainedUNet
from ctseg_reproduce.brain_model.pool import Batch, Pool
from ctseg_reproduce.training_state import Length, Report, State, follow_through

CANVAS = 112
"""Height and width of a training slice in pixels of 2 mm."""
LEARNING_RATE = 4e-3
WARM_UP = 100
SLICES = {"phantom": 60, "mean": 10, "drawn": 8, "template": 18}
"""Slices of every group of heads in a batch; groups that are not there are left out."""


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
    state = State.new(TrainedUNet, seed, device, LEARNING_RATE)
    counts = {name: count for name, count in SLICES.items() if name in pool.groups}
    follow_through(
        state, folder / "training.pt", lambda now: _step(now, pool, counts, seed),
        length=length, rate=LEARNING_RATE, warm_up=WARM_UP, report=report,
    )  # fmt: skip
    result = TrainedUNet()
    result.load_state_dict({name: value.cpu() for name, value in state.average.state_dict().items()})
    return result.eval()


def _step(state: State, pool: Pool, counts: dict[str, int], seed: int) -> Tensor:
    """One batch; returns its loss."""
    own = int(np.random.default_rng((seed, 9, state.step)).integers(2**31))
    rng = torch.Generator(pool.hu.device).manual_seed(own)
    with torch.no_grad():
        batch = augmented(pool.batch(counts, rng), rng, CANVAS)
    return state.learn(loss_of(state.network(network_input(batch.hu)), batch))
