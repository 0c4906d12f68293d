"""What a training of one of the package's small networks keeps between its steps, and for how long it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from ctseg.checkpoints import not_finite, not_swelling
from ctseg.errors import InputError, TrainingError
from ctseg.files import write_with

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

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def new(cls, build: Callable[[], nn.Module], seed: int, device: torch.device, rate: float) -> State:
        """Before the first step.

        Args:
            build: makes the network.
            seed: of its first weights.
            device: where it is trained.
            rate: of learning.
        """
        torch.manual_seed(seed)
        network = build().to(device)
        return cls(network, deepcopy(network), torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4))

    def learn(self, loss: Tensor) -> Tensor:
        """End a step: follow the loss downhill, and the network with the average; returns the loss, detached."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.follow()
        self.step += 1
        return loss.detach()

    def follow(self) -> None:
        """Move the average towards the network; the first steps are soon forgotten."""
        share = 1 - min(AVERAGE, (1 + self.step) / (10 + self.step))
        kept, new = (
            [value for value in one.state_dict().values() if value.is_floating_point()]
            for one in (self.average, self.network)
        )
        torch._foreach_lerp_(kept, new, share)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            TrainingError: if the training has diverged; then the state before is kept.
        """
        bad = not_finite(self.network) or not_finite(self.average)
        if bad:
            raise TrainingError(
                f"{path}: weight {bad} is not finite after step {self.step}; call again to go on from the state "
                "before, and if that ends so, too, take another --seed and -o"
            )
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
            state = torch.load(
                not_swelling(path), weights_only=True, map_location=next(self.network.parameters()).device
            )
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except (RuntimeError, UnpicklingError, KeyError, ValueError, EOFError, OSError, BadZipFile) as error:
            raise InputError(f"{path}: cannot be read; remove it and call again") from error


def follow_through(
    state: State,
    path: Path,
    step: Callable[[State], Tensor],
    *,
    length: Length,
    rate: float,
    warm_up: int,
    report: Report,
) -> None:
    """Train to the end, from the state in `path` where there is one.

    Args:
        state: changed in place.
        path: of the state, written now and then.
        step: trains one batch and returns its loss.
        length: how long in all.
        rate: of learning at its highest; it falls to 0 as a half cosine.
        warm_up: steps in which it rises to that.
        report: called with (steps done, steps in all, note) now and then.
    """
    if path.exists():
        state.load(path)
    started = time.perf_counter() - state.seconds
    losses: list[Tensor] = []
    while (done := length.done(state.step, time.perf_counter() - started)) < 1:
        warm = min(1.0, (state.step + 1) / warm_up)
        for group in state.optimiser.param_groups:
            group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * done))
        losses.append(step(state))
        if state.step % SAVE_EVERY == 0 or time.perf_counter() - started > state.seconds + SAVE_SECONDS:
            state.seconds = time.perf_counter() - started
            state.save(path)
            report(state.step, length.steps, f"loss {float(torch.stack(losses).mean()):.4f}, {state.seconds:.0f} s")
            losses.clear()
    state.seconds = time.perf_counter() - started
    state.save(path)
    report(state.step, length.steps, f"{state.seconds:.0f} s in all")
