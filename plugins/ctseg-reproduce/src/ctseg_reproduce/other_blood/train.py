"""Train the network for other blood, on a CPU or a GPU, resumable by the step."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from ctseg.augment.affine import Affine
from ctseg.augment.brightness import BrightnessShift
from ctseg.augment.distractors import Spots
from ctseg.augment.flips import Flips
from ctseg.augment.intensity import BiasField, Contrast, Noise
from ctseg.augment.pipeline import AugmentationRanges, apply_all, draw_artefacts
from ctseg.augment.slices import Augmentation, brain_of
from ctseg.inference.kind_slices import NEIGHBOURS, beside
from ctseg.networks.intensity import to_images
from ctseg.networks.unet import KindsUNet
from ctseg.phantom.bleeds import KINDS
from ctseg_reproduce.other_blood.patients import KindSlices
from ctseg_reproduce.training_state import Length, Report, State, follow_through

CLASSES = 1 + len(KINDS)
"""No blood, and each kind; IPH is a class of its own and not shown."""
SETTINGS: dict[str, Any] = {"classes": CLASSES, "width": 28, "depth": 3, "in_channels": NEIGHBOURS, "stem": 2}
"""Of `KindsUNet`."""
LEARNING_RATE, WARM_UP, BATCH = 3e-3, 100, 16
OTHER = tuple(range(2, CLASSES))
"""Classes that are not IPH."""
OTHER_SHARE = 0.5
"""Slices of a batch that are drawn by kind, each kind as often; the rest is drawn from all."""
ALONE_SHARE = 0.1
"""Slices shown without neighbours, as in a scan of one slice."""
ROTATION_DEG, ZOOM, SHIFT, CONTRAST, BIAS, NOISE = 12.0, 0.1, 0.03, 0.12, 0.04, 0.04
"""How far augmentation goes; see `ctseg.augment.pipeline.AugmentationRanges`."""
COLUMNS = slice(16, 128)
"""Columns that are trained on: a head is at most 168 mm wide."""
SPOT_SHARE = 0.15
"""Slices with small bright spots, which are no blood."""
BONE = AugmentationRanges(edge_erosion=0.02, edge_brightening=0.4, end_brightening=0.3, streaks=0.12, sharpness=0.5)
"""What bone and the kernel do to the brain, as far as in the default model's training."""
TOGETHER_SHARE = 0.5
"""Stacks whose three slices bone changes alike; in the others, each slice on its own."""

Step = TypeVar("Step", bound=Augmentation)


@dataclass(frozen=True)
class Pool:
    """The slices of all patients, one patient after another."""

    images: NDArray[np.uint8]
    """(N, H, W)."""
    kinds: NDArray[np.uint8]
    """(N, H, W)."""
    beside: NDArray[np.int64]
    """(N, 3) numbers of the slice below, itself and above."""
    showing: tuple[NDArray[np.int64], ...]
    """For each kind of `OTHER`, the numbers of the slices that show it."""
    filled: NDArray[np.int64]
    """Numbers of the slices with brain."""

    @classmethod
    def of(cls, patients: Sequence[KindSlices]) -> Pool:
        """Join the patients' slices."""
        starts = np.cumsum([0, *(len(each.images) for each in patients)])
        near = [start + beside(each.z_mm) for start, each in zip(starts, patients, strict=False)]
        images = np.concatenate([each.images for each in patients])
        kinds = np.concatenate([each.kinds for each in patients])
        showing = tuple(np.flatnonzero((kinds == kind).any(axis=(1, 2))) for kind in OTHER)
        return cls(images, kinds, np.concatenate(near), showing, np.flatnonzero(images.any(axis=(1, 2))))

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The numbers of a batch's slices."""
        by_kind = [
            rng.choice(self.showing[kind]) if len(self.showing[kind]) else rng.choice(self.filled)
            for kind in rng.integers(len(OTHER), size=round(BATCH * OTHER_SHARE))
        ]
        return np.concatenate([np.array(by_kind, np.int64), rng.choice(self.filled, BATCH - len(by_kind))])

    def batch(self, rng: np.random.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, H, W) in [-1, 1] and kinds (B, H, W)."""
        chosen = self.draw(rng)
        near = np.where(rng.random((BATCH, 1)) < ALONE_SHARE, chosen[:, None], self.beside[chosen])
        images = to_images(self.images[near].reshape(-1, *self.images.shape[1:]), device)
        wanted = one_hot(torch.from_numpy(self.kinds[chosen]).long().to(device), CLASSES).permute(0, 3, 1, 2).float()
        return augmented(images.reshape(BATCH, NEIGHBOURS, *images.shape[2:]), wanted, rng)


def augmented(images: Tensor, wanted: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Slices as other heads on other scanners would give them.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        wanted: (B, C, H, W) 0/1.
        rng: of all draws.

    Returns:
        (B, 3, H, w) images, and the kind of each pixel (B, H, w) int64; w are `COLUMNS`.
    """
    count, middle = len(images), NEIGHBOURS // 2
    spots = Spots.draw(rng, rng.random(count) < SPOT_SHARE)
    own = images[:, middle : middle + 1]
    own = spots.paint(own, brain_of(own) & (wanted[:, :1] > 0))
    steps = drawn(rng, count)
    slices = np.arange(count * NEIGHBOURS).reshape(count, NEIGHBOURS)
    noise = (Noise.draw(rng, count, NOISE),)
    own, kinds = apply_all((*(taken(step, slices[:, middle]) for step in steps), *noise), own, wanted)
    outer = [place for place in range(NEIGHBOURS) if place != middle]
    around = images[:, outer].reshape(-1, 1, *images.shape[2:])
    noise = (Noise.draw(rng, len(around), NOISE),)
    steps = (*(taken(step, slices[:, outer].ravel()) for step in steps), *noise)
    around, _ = apply_all(steps, around, around[:, :0])  # the neighbours' blood is not wanted
    around = around.reshape(count, len(outer), *images.shape[2:])
    shown = torch.cat([around[:, :middle], own, around[:, middle:]], dim=1)[..., COLUMNS]
    numbers = torch.arange(CLASSES, dtype=torch.float32, device=images.device)[:, None, None]
    return shown, ((kinds[..., COLUMNS] * numbers).amax(dim=1) * brain_of(shown[:, middle])).long()


def drawn(rng: np.random.Generator, count: int) -> tuple[Augmentation, ...]:
    """What happens to the slices of `count` stacks, one stack after another."""
    stacks = np.repeat(np.arange(count), NEIGHBOURS)
    moved = (Flips(rng.random(count) < 0.5, np.zeros(count, bool)), Affine.draw(rng, count, ROTATION_DEG, ZOOM))
    beside_bone = draw_artefacts(rng, count * NEIGHBOURS, BONE)
    alike = np.repeat(rng.random(count) < TOGETHER_SHARE, NEIGHBOURS)
    rows = np.where(alike, NEIGHBOURS * stacks, np.arange(count * NEIGHBOURS))
    grey = (
        BrightnessShift.draw(rng, count, SHIFT), Contrast.draw(rng, count, CONTRAST), BiasField.draw(rng, count, BIAS)
    )  # fmt: skip
    return (
        *(taken(step, stacks) for step in moved),
        *(taken(step, rows) for step in beside_bone),
        *(taken(step, stacks) for step in grey),
    )


def taken(step: Step, rows: NDArray[np.int64]) -> Step:
    """An augmentation of the slices `rows` of those that it was drawn for."""
    arrays = {field.name: getattr(step, field.name) for field in fields(step)}  # type: ignore[arg-type]
    return replace(step, **{name: value[rows] for name, value in arrays.items()})  # type: ignore[type-var]


def loss_of(logits: Tensor, kinds: Tensor) -> Tensor:
    """Cross-entropy, and one minus the soft Dice of the batch, averaged over the kinds that it shows."""
    wanted = one_hot(kinds, CLASSES).permute(0, 3, 1, 2).float()
    share = torch.softmax(logits, dim=1)
    both, total = (share * wanted).sum(dim=(0, 2, 3)), (share + wanted).sum(dim=(0, 2, 3))
    dice = ((2 * both + 1) / (total + 1))[1:]
    there = wanted.sum(dim=(0, 2, 3))[1:] > 0
    return cross_entropy(logits, kinds) + 0.5 * (1 - (dice * there).sum() / there.sum().clamp(min=1))


def train(
    pool: Pool, folder: Path, *, steps: int, seed: int, device: torch.device, mixed: bool, report: Report
) -> KindsUNet:
    """Train, or continue from `folder/training.pt`, and return the averaged network, on the CPU.

    Args:
        pool: the slices.
        folder: for the state.
        steps: how many in all.
        seed: of weights, order and augmentation.
        device: where it is trained.
        mixed: whether the network computes in bfloat16.
        report: called with (steps done, steps in all, note) now and then.
    """
    state = State.new(partial(_network, device), seed, device, LEARNING_RATE)
    with Batches(pool, seed, device) as batches:
        follow_through(
            state, folder / "training.pt", lambda now: _step(now, batches, device, mixed),
            length=Length(steps), rate=LEARNING_RATE, warm_up=WARM_UP, report=report,
        )  # fmt: skip
    result = KindsUNet(**SETTINGS)
    result.load_state_dict({name: value.cpu() for name, value in state.average.state_dict().items()})
    return result.eval()


def _network(device: torch.device) -> KindsUNet:
    network: KindsUNet = KindsUNet(**SETTINGS).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


class Batches:
    """`with Batches(...) as batches: batches.take(step)`: the next batch is made in a thread while one is learnt from.

    What is in a batch follows from the seed and the step alone.
    """

    def __init__(self, pool: Pool, seed: int, device: torch.device) -> None:
        self.pool, self.seed, self.device = pool, seed, device
        self._made: dict[int, Future[tuple[Tensor, Tensor]]] = {}
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """Images and kinds of a step; the next one is begun."""
        for number in (step, step + 1):
            if number not in self._made:
                self._made[number] = self._thread.submit(self._make, number)
        return self._made.pop(step).result()

    def _make(self, step: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self.pool.batch(np.random.default_rng((self.seed, 9, step)), self.device)


def _step(state: State, batches: Batches, device: torch.device, mixed: bool) -> Tensor:
    """One batch; returns its loss."""
    images, kinds = batches.take(state.step)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
        logits = state.network(images.contiguous(memory_format=torch.channels_last)).logits
    return state.learn(loss_of(logits.float(), kinds))
