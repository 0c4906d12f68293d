"""A batch's augmentation with preset plus: on tensors, beside the former NumPy and scipy code; the ratio counts.

`python tests/benchmarks/test_augmentation_speed.py` measures 12 slices of 240 x 240 and 4 of 96 x 96.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy_augmentation import Ranges, augment, brighten, change_grey, change_place, draw_augmentation, paint, paste
from numpy_augmentation import repaint as numpy_repaint
from scipy import ndimage
from torch import Tensor

from ctseg.augment.copy_paste import CopyPaste
from ctseg.augment.distractors import Distractors
from ctseg.augment.pipeline import AugmentationRanges, SourceAugmentation, StudentView
from ctseg.augment.synthetic_haemorrhage import SyntheticHaemorrhage
from ctseg.networks.intensity import to_images, to_masks

pytestmark = pytest.mark.slow
ROUNDS, DRAWS = 7, 4
PLUS = AugmentationRanges(0.5, 0.0, 0.05, 0.15, 0.08, 0.05, 15.0, 0.15, 1.0, 0.5)
PAPER = AugmentationRanges(0.5, 0.2)
RANGES = Ranges(PLUS.contrast, PLUS.noise, PLUS.bias_field, PLUS.rotation_deg, PLUS.zoom)
STILL = Ranges(PLUS.contrast, PLUS.noise, PLUS.bias_field)


def heads(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Textured brains with ventricles and sulci, and a lesion with holes and arms; (count, side, side) uint8 each."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    brain = (rows / 0.45) ** 2 + (columns / 0.38) ** 2 < 1
    folds = ndimage.gaussian_filter(rng.standard_normal((count, side, side)), (0, 0.012 * side, 0.012 * side))
    grey = 80 + rng.integers(-8, 9, (count, side, side)) - 70 * (folds > 1.6 * folds.std())
    blobs = ndimage.gaussian_filter(rng.standard_normal((count, side, side)), (0, 0.03 * side, 0.03 * side))
    near = (rows - 0.05) ** 2 + (columns - 0.1) ** 2 < 0.15**2
    masks = (blobs > 0.2 * blobs.std()) & near & brain
    images = np.where(brain, np.where(masks, 130, grey), 0)
    return images.clip(0, 255).astype(np.uint8), masks.astype(np.uint8)


def numpy_source(images: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    drawn = draw_augmentation(rng, len(images), brightness=PLUS.brightness_shift)
    slices, labels = numpy_repaint(images, masks, PLUS.synthetic_haemorrhage, rng)
    slices = paint(slices, labels, PLUS.distractors, rng)
    moved = change_place(*augment(to_images(slices), to_masks(labels), drawn), RANGES, rng)
    return change_grey(moved[0], RANGES, rng), moved[1]


def numpy_student(target: Tensor, lesions: Tensor, rng: np.random.Generator) -> Tensor:
    none = torch.zeros_like(target)
    images, _, _ = paste(target, lesions, none, none, 0.5, PLUS.distractors, rng)
    drawn = draw_augmentation(rng, len(target), flip_probability=0.0, brightness=PLUS.brightness_shift)
    return change_grey(brighten(images, drawn), STILL, rng)


def numpy_paper(images: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    return augment(to_images(images), to_masks(masks), draw_augmentation(rng, len(images)))


def processor_seconds(way: Callable[[np.random.Generator], object], rng: np.random.Generator) -> float:
    started = time.process_time()
    way(rng)
    return time.process_time() - started


def least_ms(*ways: Callable[[np.random.Generator], object]) -> list[float]:
    """Least processor time of a few draws of each way, taken in turn so that a busy machine slows all alike."""
    spent: list[list[list[float]]] = [[] for _ in ways]
    for _ in range(ROUNDS + 1):
        for way, times in zip(ways, spent, strict=True):
            times.append([processor_seconds(way, np.random.default_rng(seed)) for seed in range(DRAWS)])
    return [1000 * float(np.min(times[1:], axis=0).mean()) for times in spent]


def rows(count: int, side: int) -> list[tuple[str, float, float]]:
    """Each augmentation's name, milliseconds of the former code and of ours, for slices of (side, side)."""
    slices, labels = heads(count, side)
    images, masks = to_images(slices), to_masks(labels)
    none = torch.zeros_like(images)

    def source(settings: AugmentationRanges) -> Callable[[np.random.Generator], object]:
        return lambda rng: SourceAugmentation.draw(rng, count, settings).apply(to_images(slices), to_masks(labels))

    def student(rng: np.random.Generator) -> object:
        view = StudentView.draw(rng, count, (side, side), PLUS, copy_paste=0.5, mask_ratio=0.0, mask_patch=8)
        return view.apply(images, none, none, masks)

    pairs: dict[str, tuple[Callable[[np.random.Generator], object], Callable[[np.random.Generator], object]]] = {
        "source, paper": (lambda rng: numpy_paper(slices, labels, rng), source(PAPER)),
        "source, plus": (lambda rng: numpy_source(slices, labels, rng), source(PLUS)),
        "student view, plus": (lambda rng: numpy_student(images, masks, rng), student),
        "synthetic haemorrhage": (
            lambda rng: numpy_repaint(slices, labels, 1.0, rng),
            lambda rng: SyntheticHaemorrhage.draw(rng, count, 1.0).apply(images, masks),
        ),
        "distractors": (
            lambda rng: paint(slices, labels, 0.5, rng),
            lambda rng: Distractors.draw(rng, count, 0.5).apply(images, masks),
        ),
        "copy-paste": (
            lambda rng: paste(images, masks, none, none, 0.5, 0.0, rng),
            lambda rng: CopyPaste.draw(rng, count, 0.5).apply(images, none, masks),
        ),
    }
    return [(name, *least_ms(former, now)) for name, (former, now) in pairs.items()]


def test_tensors_beside_numpy() -> None:
    started = time.process_time()
    found = rows(2, 48)
    assert len(found) == 6
    spent = 1000 * (time.process_time() - started)
    assert all(0 < milliseconds < spent for _, *both in found for milliseconds in both)


def main() -> None:
    """Print how many times as fast ours are."""
    torch.set_num_threads(1)
    for count, side in ((12, 240), (4, 96)):
        sys.stdout.write(f"{count} slices of {side} x {side}, one thread\n")
        for name, before, now in rows(count, side):
            sys.stdout.write(f"{name}: {before:.1f} ms before, {now:.1f} ms now, {before / now:.1f} times as fast\n")


if __name__ == "__main__":
    main()
