"""Examples of augmentations as a contact sheet: `python -m ctseg.augment.examples FOLDER --source SET --target SET`.

The sheets of docs/augmentation.md show phantom slices: the lesions of a labelled MR set over slices of a CT set.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ctseg.augment.affine import Affine
from ctseg.augment.brightness import BrightnessFactor, BrightnessShift
from ctseg.augment.copy_paste import CopyPaste
from ctseg.augment.distractors import Distractors
from ctseg.augment.flips import Flips
from ctseg.augment.intensity import BiasField, Contrast, Noise
from ctseg.augment.patch_masking import PatchMasking
from ctseg.augment.slices import Floats, brain_of, hu_share
from ctseg.augment.synthetic_haemorrhage import SyntheticHaemorrhage
from ctseg.io.slices import SliceSet, open_slices
from ctseg.networks.intensity import to_images, to_masks, to_uint8
from ctseg.render.sheet import grid_png

Apply = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
SHOWN = 3
"""Slices on a sheet."""
LESION_SHARE = 0.015
"""Lesions of about this share of a slice are shown: 9 cm2 at 240 mm."""
LESION_HU = 8.0
"""How much brighter than its surroundings a glioma of the examples is, HU."""


def contact_sheet(path: Path, images: Tensor, masks: Tensor, examples: Mapping[str, Apply]) -> Path:
    """Write a picture with a row for each slice and a column for each augmentation, with contours of the masks.

    Args:
        path: the PNG.
        images: (B, 1, H, W) in [-1, 1].
        masks: (B, 1, H, W) 0/1.
        examples: caption -> `apply` of a drawn augmentation of B slices.
    """
    columns = [apply(images, masks) for apply in examples.values()]
    slices = np.stack([to_uint8(image) for image, _ in columns], axis=1)  # (B, columns, H, W)
    outlines = np.stack([mask[:, 0].numpy() > 0 for _, mask in columns], axis=1)
    return grid_png(path, [list(row) for row in slices], list(examples), [list(row) for row in outlines])


def grey_examples(count: int, rng: np.random.Generator) -> dict[str, Apply]:
    """Draw what changes grey values, at the ends of the ranges of the presets `paper`, `default` and `plus`."""
    most = np.ones(count)
    return {
        "as it is": lambda images, masks: (images, masks),
        "brightness x 0.8": BrightnessFactor(0.8 * most).apply,
        "brightness x 1.2": BrightnessFactor(1.2 * most).apply,
        "shift of -5 HU": BrightnessShift(-0.05 * most).apply,
        "contrast x 1.15": Contrast(1.15 * most).apply,
        "bias field, 8 HU": BiasField(BiasField.draw(rng, count, 0.08).knots, 0.08 * most).apply,
        "noise, 5 HU": Noise(0.05 * most, seed=0).apply,
    }


def painted_examples(images: Tensor, rng: np.random.Generator, lesions: Tensor) -> dict[str, Apply]:
    """Draw what moves, paints or hides, with the settings of the preset `plus`."""
    count, size = len(images), (images.shape[2], images.shape[3])
    paste = partial(CopyPaste.draw(rng, count, 1.0).apply, lesions=lesions)
    yes = np.ones(count, bool)
    return {
        "as it is": lambda images, masks: (images, masks),
        "mirrored left-right": Flips(yes, ~yes).apply,
        "rotation, zoom": Affine(np.linspace(-15, 15, count), np.linspace(0.85, 1.15, count)).apply,
        "synthetic haemorrhage": SyntheticHaemorrhage.draw(rng, count, 1.0).apply,
        "distractors": Distractors.draw(rng, count, 1.0).apply,
        "copy-paste": lambda images, masks: paste(images, torch.zeros_like(masks)),
        "patch masking": PatchMasking.draw(rng, count, size, 0.5, 16).apply,
    }


def write_examples(folder: Path, images: Tensor, masks: Tensor, seed: int = 0) -> tuple[Path, Path]:
    """Write `augmentation-grey.png` and `augmentation-painted.png` of (B, 1, H, W) slices and lesions."""
    rng = np.random.default_rng(seed)
    grey = contact_sheet(folder / "augmentation-grey.png", images, masks, grey_examples(len(images), rng))
    painted = painted_examples(images, rng, masks.roll(1, dims=0))
    return grey, contact_sheet(folder / "augmentation-painted.png", images, masks, painted)


def choose_examples(source: SliceSet, target: SliceSet) -> tuple[Tensor, Tensor]:
    """Put lesions of labelled slices over target slices: an example of pseudo-CT without a synthesis network.

    Returns:
        Up to three images (B, 1, H, W) in [-1, 1], each of another patient, whose lesions are 8 HU brighter, and the
        lesions' masks.

    Raises:
        InputError: if the source has no masks.
    """
    masks = source.require_masks("examples show lesions")
    area = np.abs(masks[:].mean(axis=(1, 2)) - LESION_SHARE)
    brain = (target.images[:] > 0).mean(axis=(1, 2))
    lesion_rows, brain_rows = _one_of_each_patient(source, area), _one_of_each_patient(target, -brain)
    count = min(len(lesion_rows), len(brain_rows))
    images, lesions = to_images(target.images[brain_rows[:count]]), to_masks(masks[lesion_rows[:count]])
    lesions = lesions * brain_of(images)
    brighter = (images + hu_share(LESION_HU)).clamp(max=1.0)
    return torch.where(lesions > 0, brighter, images), lesions


def _one_of_each_patient(slices: SliceSet, cost: Floats) -> list[int]:
    """Return the row of least cost of each of the first three patients."""
    costs = pd.Series(cost).groupby(slices.table["patient_id"].to_numpy())
    return [int(row) for row in costs.idxmin()[:SHOWN]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both sheets of slice sets of one size."""
    parser = argparse.ArgumentParser(prog="python -m ctseg.augment.examples")
    parser.add_argument("folder", type=Path, help="where the sheets go")
    parser.add_argument("--source", type=Path, required=True, help="labelled slice set")
    parser.add_argument("--target", type=Path, required=True, help="CT slice set")
    options = parser.parse_args(arguments)
    write_examples(options.folder, *choose_examples(open_slices(options.source), open_slices(options.target)))


if __name__ == "__main__":
    main()
