"""The epoch loop with exact resume, which both stages share; nothing here knows a loss.

Everything random is drawn from the run's seed, the epoch and the step, never from a state that has to be carried on, so
a run that stops at any step and goes on from its last checkpoint gives the same weights, bit for bit on CPU, as one
that never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctseg.checkpoints import load_checkpoint, not_finite, save_checkpoint
from ctseg.errors import InputError, TrainingError, first_line
from ctseg.progress import ProgressCallback
from ctseg.runs import append_metrics, read_metrics, rewind_metrics
from ctseg.training.processes import average, check_same, rank, share_weights
from ctseg.training.sampling import Rows, SliceSampler

CHECK_EVERY = 10
"""Steps between two looks at whether the losses are finite: on a GPU each look waits for the device."""


def lr_factor(epoch: int, epochs: int, decay_epochs: int) -> float:
    """Share of the base learning rate in `epoch` (from 0): 1 for `epochs`, then linearly towards 0 over `decay_epochs`.

    As in CycleGAN, the first decaying epoch is already below 1 and the last still above 0.
    """
    return 1.0 if epoch < epochs else 1.0 - (epoch - epochs + 1) / (decay_epochs + 1)


def set_lr_factor(optimisers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set each optimiser's rate to `factor` times the rate it was made with."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def check_finite(losses: Mapping[str, float], where: str) -> None:
    """Stop a training that has diverged.

    Raises:
        TrainingError: naming the first loss that is not finite, and `where`.
    """
    bad = next((name for name, value in losses.items() if not math.isfinite(value)), None)
    if bad is not None:
        first = ", the adversary's first (--set lr_discriminator)" if _has_adversary(losses) else ""
        raise TrainingError(
            f"{bad} is {losses[bad]} at {where}; lower the learning rate{first}, try --precision 32, and go on from "
            "the last checkpoint with --resume, or start again with --overwrite"
        )


def _has_adversary(losses: Mapping[str, float]) -> bool:
    """Whether a discriminator is trained: stage 1 calls its own d_ct, d_mr and d_fusion."""
    return any("discriminator" in name or name.startswith("d_") for name in losses)


def check_weights(modules: Mapping[str, nn.Module], where: str) -> None:
    """Stop before weights that are not finite reach a checkpoint.

    The statistics of batch norm count, too: they can overflow where every parameter and loss is finite.

    Raises:
        TrainingError: naming the module and the parameter or buffer.
    """
    for name, module in modules.items():
        bad = not_finite(module)
        if bad:
            check_finite({f"weight {bad} of {name}": math.nan}, where)


class LossMeter:
    """Mean of each loss over an epoch and all processes; every few steps it looks whether all are finite."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.steps = epoch, 0
        self._sums: dict[str, float] = {}
        self._waiting: list[dict[str, Tensor]] = []

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Losses of one step.

        Raises:
            TrainingError: naming loss, epoch and step (both from 1), within `CHECK_EVERY` steps of the first bad value.
        """
        self._waiting.append(dict(losses))
        if len(self._waiting) >= CHECK_EVERY:
            self._look()

    def means(self) -> dict[str, float]:
        """Mean of each loss over the steps it was given in."""
        self._look()
        return {name: total / max(self.steps, 1) for name, total in self._sums.items()}

    def _look(self) -> None:
        if not self._waiting:
            return
        flat = torch.stack([value.float() for losses in self._waiting for value in losses.values()])
        means = iter(average(flat).tolist())  # alike in every process, so that a bad value stops all of them
        for losses in self._waiting:
            self.steps += 1
            values = {name: next(means) for name in losses}
            check_finite(values, f"epoch {self.epoch + 1}, step {self.steps}")
            for name, value in values.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
        self._waiting.clear()


@dataclass(frozen=True)
class EpochLoop:
    """How `run_epochs` runs: what to train for how long, and what a checkpoint holds."""

    run: Path
    epochs: int
    train_epoch: Callable[[int], dict[str, Any]]
    """Trains one epoch (counted from 0) and gives its row of `metrics.jsonl`."""
    state: Callable[[], dict[str, Any]]
    """Everything an exact resume needs: tensors and plain values."""
    restore: Callable[[dict[str, Any]], None]
    modules: Mapping[str, nn.Module]
    """Checked for finite weights before each checkpoint."""
    seed: int = 0
    checkpoint_every: int = 1
    writes: bool = True
    """Only one of several processes writes."""


def run_epochs(loop: EpochLoop, *, resume: bool, device: torch.device | str = "cpu") -> list[dict[str, Any]]:
    """The outer loop: resume, train, log, checkpoint. Gives all rows of `metrics.jsonl`.

    Ctrl-C or an error leaves the last checkpoint intact. torch's own generators (dropout) are seeded in each epoch.

    Raises:
        TrainingError: if weights are no longer finite.
        InputError: if the checkpoint is broken, or not every process sees the same.
    """
    first = _first_epoch(loop, resume, device)
    share_weights(loop.modules)
    for epoch in range(first, loop.epochs):
        started = time.monotonic()
        with torch.random.fork_rng():
            # Each process has draws of its own, so that dropout differs between the parts of a batch.
            numbers = [loop.seed, epoch, rank()] if rank() else [loop.seed, epoch]
            torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
            row = loop.train_epoch(epoch)
        check_weights(loop.modules, f"epoch {epoch + 1}")
        if loop.writes:
            append_metrics(loop.run, {"epoch": epoch, "seconds": round(time.monotonic() - started, 3), **row})
            if (epoch + 1) % loop.checkpoint_every == 0 or epoch + 1 == loop.epochs:
                save_checkpoint(loop.run, {"epoch": epoch + 1, **loop.state()})
    return read_metrics(loop.run)


def _first_epoch(loop: EpochLoop, resume: bool, device: torch.device | str) -> int:
    """0, or the epoch after the checkpoint's, with the state restored and later rows of the log dropped."""
    epoch = 0
    if resume and (loop.run / "checkpoint.pt").exists():
        checkpoint = load_checkpoint(loop.run, device)
        try:
            epoch = int(checkpoint["epoch"])
            loop.restore(checkpoint)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = first_line(error, None)
            raise InputError(
                f"{loop.run / 'checkpoint.pt'}: does not fit this training ({reason}); start again with --overwrite"
            ) from None
    check_same(epoch, lambda epochs: _not_shared(loop.run, epochs))
    if loop.writes:
        rewind_metrics(loop.run, epoch)
    return epoch


def _not_shared(run: Path, epochs: list[int]) -> str:
    found = ", ".join(f"epoch {epoch}" if epoch else "none" for epoch in epochs)
    return f"{run / 'checkpoint.pt'}: not the same for every process ({found}); put the run on a disk that all see"


class Ticker:
    """Reports each step as one of the whole training's; a run that was resumed begins where it stopped."""

    def __init__(self, progress: ProgressCallback | None, epochs: int) -> None:
        self.progress, self.epochs = progress, epochs

    def tick(self, epoch: int, step: int, steps: int) -> None:
        """Step `step` (from 0) of `steps` in `epoch` is done."""
        if self.progress is not None:
            self.progress(epoch * steps + step + 1, self.epochs * steps, f"epoch {epoch + 1} of {self.epochs}")


def steps_of(sampler: SliceSampler, epoch: int, ticker: Ticker) -> Iterator[tuple[int, Rows, Rows]]:
    """(step, source rows, target rows) of one epoch, with the progress bar kept up to date."""
    for step, (source, target) in enumerate(zip(*sampler.draws(epoch), strict=True)):
        yield step, source, target
        ticker.tick(epoch, step, sampler.steps)
