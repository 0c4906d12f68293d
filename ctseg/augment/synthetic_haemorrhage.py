"""Lesions of pseudo-CT repainted as fresh haematomas: where the labelled lesion lies, in the greys of blood.

A synthesis network draws a glioma on CT as something a little brighter than its surroundings, with the holes and arms
of its oedema; a segmenter trained on that outlines everything a little bright. Fresh blood is known without any
labelled CT: its attenuation is physics. So the smooth core of a lesion is filled with it, the core becomes the label,
and what the synthesis network drew of the rest stays as the haematoma's oedema. Not in the paper.

Sources: whole blood at a normal haematocrit 50 to 60 HU, clot as it retracts up to 90 HU (New and Aronow, Radiology
1976; Parizel et al., Eur Radiol 2001). Grey matter has 37 to 41 HU, so that what is fainter cannot be told by its grey.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
