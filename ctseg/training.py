"""What the two training stages share: device and precision, draws of slices, the outer loop with exact resume.

Each stage writes its steps out; nothing here knows a loss. Everything random is drawn from the run's seed, the epoch
and the step, never from a state that has to be carried on, so a run that stops at any step and goes on from its last
checkpoint gives the same weights, bit for bit on CPU, as one that never stopped.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctseg.errors import InputError, SettingError, TrainingError
from ctseg.runs import append_metrics, load_checkpoint, read_metrics, rewind_metrics, save_checkpoint

Rows = NDArray[np.int64]
Report = Callable[[int, int | None, str], None]
"""`report(done, total, note)`: what `ctseg.progress.Progress.update` is."""
PRECISIONS = {"32": "32-true", "32-true": "32-true", "bf16": "bf16-mixed", "bf16-mixed": "bf16-mixed"}
CHECK_EVERY = 10
"""Steps between two looks at whether the losses are finite: on a GPU each look waits for the device."""
MIDDLE = 127.5
"""uint8 0..255 is -1..1 in networks."""


def make_fabric(
    device: str = "auto", precision: str = "auto", devices: int = 1, seed: int = 0
) -> lightning_fabric.Fabric:
    """Choose device and precision, and seed torch so that networks made afterwards start alike.

    Args:
        device: 'auto' (a GPU where there is one, else the CPU), 'cpu', 'cuda', 'cuda:n' or 'mps'.
        precision: '32', 'bf16' (mixed), or 'auto': bf16 where the hardware computes in it.
        devices: processes, each with its own device; more than one needs `torchrun` or Fabric's launcher.
        seed: seeds torch's generators, which draw the first weights.

    Raises:
        SettingError: if the device is unknown or not there, or the precision is unknown.
    """
    accelerator, chosen = _parse_device(device, devices)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    kind: Any = _parse_precision(precision, accelerator)
    strategy = "ddp" if devices > 1 else "auto"
    fabric = lightning_fabric.Fabric(accelerator=accelerator, devices=chosen, precision=kind, strategy=strategy)
    fabric.launch()
    torch.manual_seed(seed)
    return fabric


def _parse_device(device: str, devices: int) -> tuple[str, Any]:
    kind, _, number = device.partition(":")
    if kind == "auto" and not number:
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in there or (number and (kind != "cuda" or not number.isdigit())):
        raise SettingError(f"--device {device}: unknown; use auto, cpu, cuda, cuda:n or mps")
    if not there[kind] or (number and int(number) >= torch.cuda.device_count()):
        raise SettingError(f"--device {device}: not on this machine; use --device auto or cpu")
    if number and devices > 1:
        raise SettingError(f"--device {device}: names one device, but --devices is {devices}; use --device {kind}")
    return kind, [int(number)] if number else devices


def _parse_precision(precision: str, accelerator: str) -> str:
    if precision == "auto":
        return "bf16-mixed" if has_fast_bf16(accelerator) else "32-true"
    if precision not in PRECISIONS:
        raise SettingError(f"--precision {precision}: unknown; use auto, 32 or bf16")
    return PRECISIONS[precision]


def has_fast_bf16(accelerator: str) -> bool:
    """Whether bfloat16 is the faster arithmetic here: NVIDIA from Ampere on (sm 80), CPUs with AMX.

    AVX512-BF16 without AMX is not enough: convolutions took 1.0 to 1.9 times as long as in float32 on such a CPU
    (tests/benchmarks/test_training_speed.py).
    """
    if accelerator == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return accelerator == "cpu" and has_amx is not None and bool(has_amx())


def to_images(slices: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(B, H, W) uint8 -> (B, 1, H, W) float32 in [-1, 1]; background 0 becomes exactly -1."""
    return torch.from_numpy(np.array(slices)).to(device)[:, None].float() / MIDDLE - 1.0


def to_masks(masks: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(B, H, W) uint8 0/1 -> (B, 1, H, W) float32 0/1."""
    return torch.from_numpy(np.array(masks)).to(device)[:, None].float()


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """(B, 1, H, W) in [-1, 1] -> (B, H, W) uint8, rounded; the inverse of `to_images`."""
    scaled = ((images.detach().float() + 1.0) * MIDDLE).round().clamp(0, 255)
    return np.asarray(scaled[:, 0].to("cpu", torch.uint8).numpy())


def step_rng(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Random numbers of one step (flips, augmentation), the same whether or not the run was resumed."""
    return np.random.default_rng([seed, epoch, step])


class SliceSampler:
    """Which source and target slices meet in each step, a pure function of seed, epoch and step.

    Every source row comes once before any comes again; its target is drawn among its candidates, or among all.

    Args:
        source_rows: rows of the source set to train on.
        target_rows: rows of the target set to train on.
        batch_size: source slices (and as many target slices) in a step.
        seed: the run's.
        candidates: source row -> the target rows it is matched with; None draws any target row.
        steps_per_epoch: default: each source row once; the last batch is filled up from a further round.
        rank: this process, of `world`; each gets its own part of every batch.
        world: processes that train together.

    Raises:
        InputError: if a source row has no candidate among `target_rows`.
    """

    def __init__(
        self,
        source_rows: Rows,
        target_rows: Rows,
        *,
        batch_size: int,
        seed: int,
        candidates: Callable[[int], Rows] | None = None,
        steps_per_epoch: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source_rows, self.target_rows = np.asarray(source_rows), np.asarray(target_rows)
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.steps = steps_per_epoch or math.ceil(len(self.source_rows) / (batch_size * world))
        self._choices = _allowed(self.source_rows, self.target_rows, candidates) if candidates else None

    def draws(self, epoch: int) -> tuple[Rows, Rows]:
        """Source and target rows of an epoch, (steps, batch) each."""
        rng = np.random.default_rng([self.seed, epoch])
        count = self.steps * self.batch_size * self.world
        rounds = math.ceil(count / len(self.source_rows))
        places = np.concatenate([rng.permutation(len(self.source_rows)) for _ in range(rounds)])[:count]
        targets = self._targets(places, rng)
        shape = (self.steps, self.world, self.batch_size)
        return self.source_rows[places].reshape(shape)[:, self.rank], targets.reshape(shape)[:, self.rank]

    def draw(self, epoch: int, step: int) -> tuple[Rows, Rows]:
        """Source and target rows of one step, (batch,) each."""
        source, target = self.draws(epoch)
        return source[step], target[step]

    def _targets(self, places: Rows, rng: np.random.Generator) -> Rows:
        shares = rng.random(len(places))
        if self._choices is None:
            return self.target_rows[(shares * len(self.target_rows)).astype(np.int64)]
        chosen = [self._choices[place] for place in places]
        return np.array([rows[int(share * len(rows))] for rows, share in zip(chosen, shares, strict=True)])


def _allowed(source_rows: Rows, target_rows: Rows, candidates: Callable[[int], Rows]) -> list[Rows]:
    """The candidates of each source row that may be trained on."""
    kept = [rows[np.isin(rows, target_rows)] for rows in (np.asarray(candidates(int(row))) for row in source_rows)]
    lonely = [int(row) for row, rows in zip(source_rows, kept, strict=True) if not len(rows)]
    if lonely:
        raise InputError(
            f"pairs: {len(lonely)} of {len(source_rows)} source slices have no target slice in the training split "
            f"(first: row {lonely[0]}); match again with the same sets, or --set matched=false"
        )
    return kept


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


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over the processes that train together; nothing to do for one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    for parameter in parameters:
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()


def check_finite(losses: Mapping[str, float], where: str) -> None:
    """Stop a training that has diverged.

    Raises:
        TrainingError: naming the first loss that is not finite, and `where`.
    """
    bad = next((name for name, value in losses.items() if not math.isfinite(value)), None)
    if bad is not None:
        raise TrainingError(
            f"{bad} is {losses[bad]} at {where}; lower the learning rate, try --precision 32, and go on from the last "
            "checkpoint with --resume, or start anew with --overwrite"
        )


def check_weights(modules: Mapping[str, nn.Module], where: str) -> None:
    """Stop before weights that are not finite reach a checkpoint.

    Raises:
        TrainingError: naming the module and the parameter.
    """
    for name, module in modules.items():
        bad = next((key for key, value in module.named_parameters() if not value.isfinite().all()), None)
        if bad is not None:
            check_finite({f"weight {bad} of {name}": math.nan}, where)


class LossMeter:
    """Mean of each loss over an epoch, kept on the device; every few steps it looks whether all are finite."""

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
        for losses in self._waiting:
            self.steps += 1
            values = dict(zip(losses, torch.stack([x.float() for x in losses.values()]).tolist(), strict=True))
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

    Ctrl-C or an error leaves the last checkpoint intact. torch's own generators (dropout) are seeded anew each epoch.

    Raises:
        TrainingError: if weights are no longer finite.
        InputError: if the checkpoint is broken.
    """
    for epoch in range(_first_epoch(loop, resume, device), loop.epochs):
        started = time.monotonic()
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence([loop.seed, epoch]).generate_state(1)[0]))
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
        epoch = int(checkpoint["epoch"])
        loop.restore(checkpoint)
    if loop.writes:
        rewind_metrics(loop.run, epoch)
    return epoch


class Ticker:
    """Tells a progress bar of each step; counts from the epoch a run was resumed at, so that the time left is right."""

    def __init__(self, progress: Report | None, epochs: int) -> None:
        self.progress, self.epochs = progress, epochs
        self._first: int | None = None

    def tick(self, epoch: int, step: int, steps: int) -> None:
        """Step `step` (from 0) of `steps` in `epoch` is done."""
        if self._first is None:
            self._first = epoch
        if self.progress is not None:
            done = (epoch - self._first) * steps + step + 1
            self.progress(done, (self.epochs - self._first) * steps, f"epoch {epoch + 1} of {self.epochs}")


def steps_of(sampler: SliceSampler, epoch: int, ticker: Ticker) -> Iterator[tuple[int, Rows, Rows]]:
    """(step, source rows, target rows) of one epoch, with the progress bar kept up to date."""
    for step, (source, target) in enumerate(zip(*sampler.draws(epoch), strict=True)):
        yield step, source, target
        ticker.tick(epoch, step, sampler.steps)
