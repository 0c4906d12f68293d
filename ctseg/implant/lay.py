"""Lay haematomas of known mL and HU into a scan, with partial volume in all directions and the scan's own noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ctseg.arguments import of_kind, several, whole_number
from ctseg.errors import InputError
from ctseg.implant.head import Head
from ctseg.implant.places import Place, Places
from ctseg.implant.shape_grid import ShapeGrid, box_of, touches_edge
from ctseg.implant.wanted import Wanted
from ctseg.io.arrays import stack_of
from ctseg.io.stack import Mask
from ctseg.phantom.fields import Floats, f32
from ctseg.phantom.fitting import Box, fit_cover, solve_hu
from ctseg.phantom.parts import Part

NOISE_MM = 1.2
"""Width of the Gaussian that tells noise from tissue under the blood."""
NOISE_SDS = 3.0
"""What lies further from the smooth scan is an edge of tissue, which blood takes the place of."""
THIN_FROM = 600_000
"""Samples from which on the volume is fitted on every second pixel."""
TRIES = 6
VOLUME = (0.85, 1.15)
"""An implant may have this many times the wanted volume; otherwise another place is tried."""


@dataclass(frozen=True)
class Implant:
    """A haematoma fitted into a head, on its box of the scan."""

    wanted: Wanted
    box: Box
    change: Floats
    """(k, h, w) HU to add to the scan."""
    cover: Floats
    """(k, h, w) share of each voxel that blood fills."""
    mask: Mask
    """(k, h, w) voxels at least half filled: the truth."""
    ml: float
    """Of the mask."""
    hu: float
    """Mean HU of the new scan inside the mask."""
    place: tuple[int, int, int]
    """Slice, row and column of its centre on the scan."""

    def whole_mask(self, shape: tuple[int, ...]) -> Mask:
        """The mask on the scan's grid (K, H, W)."""
        whole = np.zeros(shape, dtype=bool)
        self.check_fits(whole.shape, "Implant.whole_mask: shape")
        whole[self.box] = self.mask
        return whole

    def check_fits(self, shape: tuple[int, ...], what: str) -> None:
        """Refuse a grid that does not hold it.

        Raises:
            InputError: naming both.
        """
        if len(shape) != 3 or any(part.stop > size for part, size in zip(self.box, shape, strict=True)):
            ends = tuple(part.stop for part in self.box)
            raise InputError(f"{what}: {shape} does not hold a haematoma that reaches to {ends}; give its own scan's")

    def is_section(self, slices: int) -> bool:
        """Whether a scan of so many slices shows the middle of a larger haematoma, cut off by its first or last slice.

        It does where that slice holds half as much of it as any.
        """
        area = self.mask.sum(axis=(1, 2))
        first, last = self.box[0].start == 0, self.box[0].stop == slices
        return bool(2 * max(first * area[0], last * area[-1]) >= area.max())


def add(voxels: Floats, implants: Sequence[Implant]) -> Floats:
    """A copy of a scan (K, h, w) with haematomas in it.

    Raises:
        InputError: if it is no scan of theirs.
    """
    new = np.array(stack_of(voxels, "add: voxels"), dtype=np.float32)
    for implant in several(implants, Implant, "add: implants"):
        implant.check_fits(new.shape, "add: voxels")
        new[implant.box] += implant.change
    return new


def implant_into(
    head: Head, rng: np.random.Generator, wanted: Wanted, places: Places | None = None, tries: int = TRIES
) -> Implant | None:
    """Lay one haematoma into a head at a drawn place that is free, and take that place.

    Args:
        head: the scan.
        rng: decides place, shape and texture.
        wanted: kind, mL, HU, oedema.
        places: what is taken already; afterwards this haematoma, too. Without it the whole head is free.
        tries: places that are tried until one holds the volume within 15 %.

    Returns:
        None where no place that was tried holds it.

    Raises:
        InputError: if an argument is of another kind.
    """
    of_kind(head, Head, "implant_into: head", "a ctseg.implant.head.Head (`Head.of(voxels, grid, brain)`)")
    of_kind(rng, np.random.Generator, "implant_into: rng", "a generator (`numpy.random.default_rng(seed)`)")
    of_kind(wanted, Wanted, "implant_into: wanted")
    tries = whole_number(tries, "implant_into: tries", 1)
    places = Places(head) if places is None else of_kind(places, Places, "implant_into: places")
    for _ in range(tries):
        place = places.draw(rng, wanted)
        if place is None:
            return None
        implant = implant_at(head, rng, wanted, place, places.taken)
        if implant is not None and VOLUME[0] <= implant.ml / wanted.ml <= VOLUME[1]:
            places.take(implant.whole_mask(head.voxels.shape))
            return implant
    return None


def implant_at(
    head: Head, rng: np.random.Generator, wanted: Wanted, place: Place, taken: Mask | None = None
) -> Implant | None:
    """Lay one haematoma around a pixel of the head's maps, whatever volume fits there.

    Args:
        head: the scan.
        rng: decides shape and texture.
        wanted: kind, mL, HU, oedema.
        place: of its centre.
        taken: (K, H, W) of the maps: where no blood may go.

    Returns:
        None where nothing fits, or where the fitted shape is cut off by its box.
    """
    k, row, column = head.native(place)
    x, y, z = (float(value) for value in head.point(k, row, column))
    part = wanted.part(rng, (x, y, z))
    box = box_of(head, part, k)
    if box is None:
        return None
    grid = ShapeGrid.of(head, box)
    scores = grid.scores(part)
    samples = grid.samples(part, scores, taken)
    cover, mask = fit_cover(samples, wanted.ml, head.grid.voxel_ml[box[0]], THIN_FROM)
    if not mask.any() or touches_edge(mask, box, head.voxels.shape):
        return None
    return _filled(head, wanted, part, grid, (scores.mean(axis=1), cover, mask), (k, round(row), round(column)))


def _filled(
    head: Head,
    wanted: Wanted,
    part: Part,
    grid: ShapeGrid,
    fitted: tuple[Floats, Floats, Mask],
    place: tuple[int, int, int],
) -> Implant:
    """Solve the HU and take the change of the scan, oedema included."""
    score, cover, mask = fitted
    old = head.voxels[grid.box]
    oedema = grid.oedema(part, score) * head.brain[grid.box]
    measured = old + f32(part.oedema_hu) * oedema * (1 - cover)
    noise = _noise(old, head.brain[grid.box], head.pixel_mm)
    blood = solve_hu(wanted.hu, mask, cover, old - noise, measured, grid.texture(part))
    new = measured + cover * (blood - (old - noise))
    ml = float(mask.sum(axis=(1, 2)) @ head.grid.voxel_ml[grid.box[0]])
    return Implant(wanted, grid.box, new - old, cover, mask, ml, float(new[mask].mean()), place)


def _noise(old: Floats, brain: Mask, pixel_mm: float) -> Floats:
    """(k, h, w) the scan's own noise: what is finer than a Gaussian over the brain, without the edges of tissue."""
    sigma = max(NOISE_MM / pixel_mm, 0.8)
    share = ndimage.gaussian_filter(brain.astype(np.float32), (0, sigma, sigma))
    smooth = ndimage.gaussian_filter(np.where(brain, old, 0).astype(np.float32), (0, sigma, sigma))
    rest = np.where(brain, old - smooth / np.maximum(share, 0.01), 0).astype(np.float32)
    spread = 1.4826 * float(np.median(np.abs(rest[brain]))) if brain.any() else 0.0
    noise: Floats = np.clip(rest, -NOISE_SDS * spread, NOISE_SDS * spread)
    return noise
