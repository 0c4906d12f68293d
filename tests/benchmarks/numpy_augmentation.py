"""The augmentation as it was on NumPy slices and scipy: the tensors' speed is measured against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from ctseg.networks.intensity import to_images, to_masks, to_uint8

Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
BLOOD_GREY = (128.0, 230.0)
"""50 to 90 HU, of 0..255 at 0 to 100 HU."""
PATCHES = 10.0
"""Standard deviation of the patches in a clot: 4 HU (Barras et al., Stroke 2009)."""
SMOOTHING = (0.01, 0.025)
"""How far the lesion's outline is smoothed, as a share of the slice's width: 2.4 to 6 mm at 240 mm."""
LEAST = 4
"""Pixels; what is smaller after smoothing stays as it was drawn."""


def repaint(images: Bytes, masks: Bytes, probability: float, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """(B, H, W) pseudo-CT slices and masks, each lesion with `probability` made a haematoma with a mask of its own.

    Slices without a lesion, and the background, stay as they are.
    """
    painted, outlines = images.copy(), masks.copy()
    for image, mask in zip(painted, outlines, strict=True):
        if rng.random() >= probability or not mask.any():
            continue
        core = lay(image, mask > 0, rng)
        if core is not None:
            mask[:] = core
    return painted, outlines


def lay(image: Bytes, lesion: Bools, rng: np.random.Generator, inside: float = 0.0) -> Bools | None:
    """Fill the lesion's smooth core within the brain, in place.

    Returns:
        (H, W) the core; None, and nothing filled, where it is too small or less than the share `inside` of it is brain.
    """
    whole = smooth_core(lesion, rng)
    core = whole & (image > 0)
    if core.sum() < max(LEAST, inside * whole.sum()):
        return None
    fill(image, core, rng)
    return core


def smooth_core(lesion: Bools, rng: np.random.Generator) -> Bools:
    """(H, W) the lesion with its holes filled and its arms smoothed away by a random width."""
    width = rng.uniform(*SMOOTHING) * lesion.shape[1]
    return np.asarray(ndimage.gaussian_filter(ndimage.binary_fill_holes(lesion).astype(np.float32), width) >= 0.5)


def fill(image: Bytes, core: Bools, rng: np.random.Generator) -> None:
    """In place: one grey of blood with soft patches, mixed with what was there at the edge (partial volume).

    The slice's own fine texture stays: without it, smooth would come to mean blood, and all of a real CT is smoother
    than what a synthesis network draws.
    """
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), max(1.0, 0.02 * image.shape[1]))
    patches = PATCHES * noise / max(float(noise.std()), 1e-6)
    texture = image - ndimage.gaussian_filter(image.astype(np.float32), 1.5)
    texture[~ndimage.binary_erosion(image > 0, iterations=2)] = 0.0
    blood = rng.uniform(*BLOOD_GREY) + patches + texture
    share = ndimage.gaussian_filter(core.astype(np.float32), 0.5)
    mixed = np.clip(np.rint(share * blood + (1.0 - share) * image), 1, 255)
    image[image > 0] = mixed[image > 0].astype(np.uint8)


RIM = (0.02, 0.08)
"""Thickness of a rim as a share of the slice's width: 5 to 19 mm at 240 mm; a subdural haematoma that is treated is
rarely thicker than 2 to 3 cm, and bone left at the skull base is thinner."""
ARC_DEG = (30.0, 150.0)
SPOT = (0.006, 0.02)
"""Radius of a spot, as a share of the width: 1.5 to 5 mm, calcified pineal, choroid plexus, basal ganglia."""
RIM_GREY = (115.0, 255.0)
"""Of 0..255 at 0 to 100 HU: 45 to over 100 HU, clotted blood (Osborn's Brain) to partial bone."""
SPOT_GREY = (220.0, 255.0)
"""Calcification is over 85 HU."""
FLUID = 0.6
"""Fluid is darker than this share of a slice's median brain grey: at 31 HU of tissue, under 19 HU."""
FLUID_GREY = (107.0, 179.0)
"""42 to 70 HU: blood that mixes with the fluid of ventricles and sulci (Osborn's Brain)."""
LEAST_FLUID = 3
"""Pixels; smaller pools are noise."""


def paint(
    images: NDArray[np.uint8], masks: NDArray[np.uint8], probability: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(B, H, W) slices with rims, spots and bloody fluid, each kind in a slice with `probability`.

    The lesion and the background stay as they are; masks are not changed.
    """
    painted = images.copy()
    for image, mask in zip(painted, masks, strict=True):
        brain = image > 0
        rim, spots, blood = rng.random(3) < probability
        if not brain.any():
            continue
        free = brain & (mask == 0)
        if rim:
            _fill(image, free & arc(brain, rng), RIM_GREY, rng)
        for _ in range(int(rng.integers(1, 5)) if spots else 0):
            _fill(image, free & spot(brain, rng), SPOT_GREY, rng)
        if blood:
            _fill(image, pools(image, free, rng), FLUID_GREY, rng)
    return painted


def arc(brain: Bools, rng: np.random.Generator) -> Bools:
    """(H, W) a band along the brain's edge, over a random angle, thinning out to both ends."""
    width = brain.shape[1]
    rows, columns = np.nonzero(brain)
    angle = np.arctan2(np.arange(brain.shape[0])[:, None] - rows.mean(), np.arange(width)[None, :] - columns.mean())
    middle, half = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(*ARC_DEG)) / 2
    away = np.abs((angle - middle + np.pi) % (2 * np.pi) - np.pi) / half
    thickness = rng.uniform(*RIM) * width * np.clip(1.0 - away**2, 0.0, None)
    return brain & (ndimage.distance_transform_edt(brain) <= thickness)


def spot(brain: Bools, rng: np.random.Generator) -> Bools:
    """(H, W) a disc around a random brain pixel."""
    places = np.argwhere(brain)
    row, column = places[rng.integers(len(places))]
    radius = max(1.0, rng.uniform(*SPOT) * brain.shape[1])
    squared = (np.arange(brain.shape[0])[:, None] - row) ** 2 + (np.arange(brain.shape[1])[None, :] - column) ** 2
    return brain & (squared <= radius**2)


def pools(image: NDArray[np.uint8], free: Bools, rng: np.random.Generator) -> Bools:
    """(H, W) half of the pools of fluid, drawn at random; in one slice of two only what lies behind a random row.

    Blood in the ventricles of a patient on his back sinks to the occipital horns. Rows run from front to back.
    """
    labels, count = ndimage.label(free & (image < FLUID * np.median(image[image > 0])))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    chosen = (rng.random(count + 1) < 0.5) & (sizes >= LEAST_FLUID)
    chosen[0] = False
    found = chosen[labels]
    if rng.random() < 0.5 and found.any():
        rows = np.flatnonzero(found.any(axis=1))
        found[: rng.integers(rows[0], rows[-1] + 1)] = False
    return np.asarray(found, dtype=bool)


def _fill(image: NDArray[np.uint8], where: Bools, grey: tuple[float, float], rng: np.random.Generator) -> None:
    """In place: one grey with the texture that was there, never darker than before."""
    level = rng.uniform(*grey)
    texture = image[where].astype(np.float64)
    if not texture.size:
        return
    new = np.maximum(texture, level + 0.5 * (texture - texture.mean()))
    image[where] = np.clip(np.rint(new), 1, 255).astype(np.uint8)


INSIDE = 0.5
"""Share of a lesion that must fall into the brain of the slice it is laid over; a smaller rest is no haematoma."""


def paste(
    target: Tensor, shapes: Tensor, labels: Tensor, weights: Tensor, pasted: float, distractors: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Lay lesions of a source batch over target slices as fresh blood, and distractors without a label.

    Args:
        target: (B, 1, H, W) CT in [-1, 1].
        shapes: (b, 1, H, W) 0/1 source lesions; where b < B they are used again.
        labels: (B, 1, H, W) 0/1, what the teacher says of the target.
        weights: (B, 1, H, W) 0/1, where it is sure.
        pasted: probability that a lesion is laid over a slice.
        distractors: probability of each kind of distractor.
        rng: where and what.

    Returns:
        New slices, labels and weights; weight 1 in all that was painted, for its label is known.
    """
    before, outlines = to_uint8(target), labels[:, 0].to("cpu", torch.uint8).numpy()
    slices = before.copy()
    lesions = shapes[:, 0].cpu().numpy() > 0
    for place, (image, outline) in enumerate(zip(slices, outlines, strict=True)):
        lesion = lesions[place % len(lesions)]
        if rng.random() >= pasted or not lesion.any():
            continue
        core = lay(image, lesion, rng, INSIDE)
        if core is not None:
            outline[core] = 1
    # A distractor may lie anywhere but on a lesion, painted or seen by the teacher.
    painted = paint(slices, outlines, distractors, rng)
    images, outlined = to_images(painted, target.device), to_masks(outlines, target.device)
    known = torch.from_numpy((before != painted)[:, None]).to(target.device).float()
    return images, outlined, torch.maximum(weights, known)


BACKGROUND = -1.0
"""What skull-stripped slices hold outside the brain, in networks."""


@dataclass(frozen=True)
class Augmentation:
    """What to do to each slice of a batch."""

    flip_lr: NDArray[np.bool_]
    """(B,) mirror left-right, the last axis."""
    flip_ap: NDArray[np.bool_]
    """(B,) mirror front-back, the second last axis."""
    brightness: NDArray[np.float64]
    """(B,) added to the brain, as a share of the intensity range; 0.2 is 51 grey values of 255."""


def draw_augmentation(
    rng: np.random.Generator, count: int, *, flip_probability: float = 0.5, brightness: float = 0.2
) -> Augmentation:
    """Draw for `count` slices: each flip with `flip_probability`, brightness uniform in +- `brightness`."""
    flips = rng.random((2, count)) < flip_probability
    return Augmentation(flips[0], flips[1], rng.uniform(-brightness, brightness, count))


def flip(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Mirror (B, 1, H, W) slices as drawn; its own inverse."""
    lr = _per_slice(augmentation.flip_lr, images)
    ap = _per_slice(augmentation.flip_ap, images)
    images = torch.where(lr, images.flip(-1), images)
    return torch.where(ap, images.flip(-2), images)


def brighten(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Shift the brightness of (B, 1, H, W) slices in [-1, 1], clipped to that range.

    The background stays exactly -1: brightness stands for another scanner or window, and those do not light up air.
    A lit background would also give away which slices were augmented, and they are all of the source domain.
    """
    shift = 2.0 * _per_slice(augmentation.brightness, images)
    return torch.where(images > BACKGROUND, (images + shift).clamp(BACKGROUND, 1.0), images)


def augment(images: Tensor, masks: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Images (B, 1, H, W) flipped and brightened, their masks (B, 1, H, W) flipped along."""
    return brighten(flip(images, augmentation), augmentation), flip(masks, augmentation)


def _per_slice(values: NDArray[np.generic], images: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1) on the images' device; numbers in their type."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(images.device)[:, None, None, None]
    return tensor if tensor.dtype == torch.bool else tensor.to(images.dtype)


SHADES = (4, 4)
"""Knots of the slow field over a slice: what changes within 6 cm is anatomy."""


@dataclass(frozen=True)
class Ranges:
    """How far each change may go; 0 leaves it out."""

    contrast: float = 0.0
    """Share by which grey values spread or draw together around the slice's mean brain grey."""
    noise: float = 0.0
    """Largest standard deviation of Gaussian noise, as a share of the intensity range."""
    bias_field: float = 0.0
    """Largest slow change of grey over a slice, as a share of the intensity range: beam hardening at the skull base."""
    rotation_deg: float = 0.0
    zoom: float = 0.0
    """Share by which the head is made larger or smaller."""


def change_grey(images: Tensor, ranges: Ranges, rng: np.random.Generator) -> Tensor:
    """Contrast, shading and noise on (B, 1, H, W) slices in [-1, 1]; the background stays exactly -1."""
    brain = images > BACKGROUND
    found = images
    if ranges.contrast:
        factor = _column(1.0 + rng.uniform(-ranges.contrast, ranges.contrast, len(images)), images)
        mean = (images * brain).sum(dim=(2, 3), keepdim=True) / brain.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        found = mean + (found - mean) * factor
    if ranges.bias_field:
        found = found + shades(images, ranges.bias_field, rng)
    if ranges.noise:
        deviation = _column(2.0 * rng.uniform(0.0, ranges.noise, len(images)), images)
        drawn = torch.from_numpy(rng.standard_normal(tuple(images.shape), dtype=np.float32)).to(images.device)
        found = found + deviation * drawn
    return torch.where(brain, found.clamp(BACKGROUND, 1.0), images)


def shades(images: Tensor, largest: float, rng: np.random.Generator) -> Tensor:
    """(B, 1, H, W) slow fields around 0, none larger than `largest` of the intensity range (2 wide)."""
    coarse = torch.from_numpy(rng.standard_normal((len(images), 1, *SHADES), dtype=np.float32)).to(images.device)
    field = functional.interpolate(coarse, images.shape[2:], mode="bicubic", align_corners=True)
    peak = field.abs().amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    return field / peak * _column(2.0 * rng.uniform(0.0, largest, len(images)), images)


def change_place(images: Tensor, masks: Tensor, ranges: Ranges, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Turn and scale (B, 1, H, W) slices and their masks about the centre.

    The brain's edge is kept sharp: a pixel that mixes brain and background becomes background if more than half of it
    is.
    """
    if not (ranges.rotation_deg or ranges.zoom):
        return images, masks
    grid = _grid(images, ranges, rng)
    brain = (images > BACKGROUND).float()
    sampled = functional.grid_sample(torch.cat([(images - BACKGROUND) * brain, brain, masks], 1), grid,
                                     align_corners=False)  # fmt: skip
    inside = sampled[:, 1:2] >= 0.5
    grey = BACKGROUND + sampled[:, :1] / sampled[:, 1:2].clamp(min=0.5)
    return torch.where(inside, grey.clamp(max=1.0), torch.full_like(grey, BACKGROUND)), (sampled[:, 2:] >= 0.5).float()


def _grid(images: Tensor, ranges: Ranges, rng: np.random.Generator) -> Tensor:
    """(B, H, W, 2) where each pixel of the turned slice comes from."""
    angle = np.radians(rng.uniform(-ranges.rotation_deg, ranges.rotation_deg, len(images)))
    factor = 1.0 / (1.0 + rng.uniform(-ranges.zoom, ranges.zoom, len(images)))
    aspect = images.shape[2] / images.shape[3]  # grid coordinates run from -1 to 1 over either side
    cos, sin, none = np.cos(angle) * factor, np.sin(angle) * factor, np.zeros(len(images))
    matrix = np.stack([np.stack([cos, -sin * aspect, none], -1), np.stack([sin / aspect, cos, none], -1)], 1)
    theta = torch.from_numpy(matrix.astype(np.float32)).to(images.device)
    return functional.affine_grid(theta, list(images.shape), align_corners=False)


def _column(values: NDArray[np.float64], images: Tensor) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(images.device)[:, None, None, None]
