"""Scan a head: sample every slice, add beam hardening, add the blood with its drawn mL and HU, add noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctseg.phantom.anatomy import Subject
from ctseg.phantom.bleed_statistics import PartSize
from ctseg.phantom.csf_blood import FluidBlood, ball_radius_mm, clear_of, fluid_score, pick_seed
from ctseg.phantom.ct_contrast import HeadCt
from ctseg.phantom.ct_physics import HOLDER_HU, beam_hardening, holder, kernel_noise, sharpen_twice
from ctseg.phantom.ct_series import Geometry, Protocol, slice_points
from ctseg.phantom.fields import Floats, f32
from ctseg.phantom.fitting import Box, Samples, fit_cover, largest_piece, solve_hu
from ctseg.phantom.parts import Part
from ctseg.phantom.skull import AIR

WHOLE = ("intraparenchymal", "brain")
"""Masks drawn at half coverage; blood in sulci, ventricles and under the skull is called from less, being bright."""
WHOLE_LEVEL, BRIGHT_LEVEL = 0.5, 0.3
FLUID_TEXTURE_HU = 2.0
"""Unevenness of blood in fluid."""
MOST_CORRECTED_HU = 20.0
"""Of a part's mean, for what interpolation changes."""
BONE_SHARE = 0.02
"""Share of bone that makes a voxel bright."""
TRIES = 4
"""Places that a part in fluid may try before it stays smaller than wanted."""


def mask_level(name: str) -> float:
    """Coverage from which on a voxel belongs to the mask of a finding."""
    return WHOLE_LEVEL if name in WHOLE else BRIGHT_LEVEL


@dataclass
class Frames:
    """A series at half the matrix, before noise."""

    hu: Floats
    """(K, h, w)."""
    inside: Floats
    """HU of the cavity's content, without the skull."""
    brain: Floats
    bone: NDArray[np.bool_]
    """(K, h, w) voxels that hold bone or touch one that does: no reader outlines blood there."""
    template: Floats
    """(K, h, w, 3) template mm in the middle of each slice."""
    rooms: dict[str, Floats]
    pieces: dict[int, list[tuple[int, slice, slice, Floats, Floats]]]
    """Of each part: slice, rows, columns, score and room."""
    pixel_mm: float
    voxel_ml: Floats
    """(K,)."""
    covers: dict[str, Floats] = field(default_factory=dict)
    placed: list[tuple[str, float, Box, Floats]] = field(default_factory=list)
    """Of each part: kind, wanted HU, box and coverage."""
    taken: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.taken = np.zeros_like(self.hu)


def scan(
    rng: np.random.Generator, head: HeadCt, geometry: Geometry, protocol: Protocol
) -> tuple[Floats, dict[str, Floats]]:
    """Scan a head.

    Returns:
        HU (K, H, W), and the coverage of every finding (K, H, W) in 0..1.
    """
    frames = _sample(head, geometry)
    frames.hu = _with_holder(rng, frames.hu, frames.pixel_mm)
    count, size = frames.hu.shape[:2]
    small = frames.hu.reshape(count, size // 2, 2, size // 2, 2).mean(axis=(2, 4))
    error, spread = beam_hardening(small, 2 * frames.pixel_mm, protocol.residual)
    frames.hu += sharpen_twice(error)
    for number, part in enumerate(head.pathology.parts):
        _add_part(frames, part, frames.pieces.get(number, []))
    for fluid in head.pathology.fluids:
        _add_fluid(frames, fluid, geometry)
    full = sharpen_twice(frames.hu)
    covers = _correct(full, frames)
    full += _noise(rng, geometry, protocol, sharpen_twice(sharpen_twice(spread)))
    return full, covers | {"brain": sharpen_twice(frames.brain)}


def _sample(head: HeadCt, geometry: Geometry) -> Frames:
    """Every slice through its thickness."""
    count, size = len(geometry.origins), geometry.matrix // 2
    shape = (count, size, size)
    pixel = 2 * geometry.pixel_mm
    gaps = np.abs(np.gradient(geometry.origins @ geometry.normal)) if count > 1 else geometry.thickness
    frames = Frames(
        hu=np.full(shape, AIR, dtype=np.float32),
        inside=np.full(shape, AIR, dtype=np.float32),
        brain=np.zeros(shape, dtype=np.float32),
        bone=np.ones(shape, dtype=bool),
        template=np.full((*shape, 3), 1e3, dtype=np.float32),
        rooms={fluid.kind: np.zeros(shape, dtype=np.float32) for fluid in head.pathology.fluids},
        pieces={},
        pixel_mm=pixel,
        voxel_ml=(gaps * pixel**2 / 1000).astype(np.float32),
    )
    for k in range(count):
        points = slice_points(geometry, k)
        rows, columns = head_box(head.subject, points)
        slab, tissue = head.slab(np.ascontiguousarray(points[:, rows, columns]))
        box = (k, rows, columns)
        frames.hu[box] = head.brain.calibrated(slab.hu.mean(axis=0))
        frames.inside[box] = head.brain.calibrated(slab.inside.mean(axis=0))
        frames.brain[box] = slab.brain.mean(axis=0)
        frames.bone[box] = _beside(slab.bone.mean(axis=0) > BONE_SHARE)
        frames.template[box] = tissue.template[len(points) // 2]
        for kind, room in slab.rooms.items():
            frames.rooms[kind][box] = room.mean(axis=0)
        for number, r, c, score, room in slab.parts:
            place = (k, _moved(r, rows), _moved(c, columns), score, room)
            frames.pieces.setdefault(number, []).append(place)
    return frames


def _beside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (h, w) and the voxels that share a face with it."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _moved(inner: slice, outer: slice) -> slice:
    """A slice inside a slice, in the outer one's frame."""
    return slice(inner.start + outer.start, inner.stop + outer.start)


def _stack(pieces: list[tuple[int, slice, slice, Floats, Floats]], part: Part) -> Samples | None:
    """Samples of a part on the box around all of its pieces; slices may differ in their number of samples."""
    if not pieces:
        return None
    low = [min(p[1].start for p in pieces), min(p[2].start for p in pieces)]
    high = [max(p[1].stop for p in pieces), max(p[2].stop for p in pieces)]
    first, last = pieces[0][0], pieces[-1][0]
    deep = max(len(p[3]) for p in pieces)
    shape = (last - first + 1, deep, high[0] - low[0], high[1] - low[1])
    score, room = np.full(shape, -1000, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    for k, rows, columns, piece_score, piece_room in pieces:
        samples = np.arange(deep) * len(piece_score) // deep
        r, c = slice(rows.start - low[0], rows.stop - low[0]), slice(columns.start - low[1], columns.stop - low[1])
        score[k - first][:, r, c] = piece_score[samples]
        room[k - first][:, r, c] = piece_room[samples]
    box = (slice(first, last + 1), slice(low[0], high[0]), slice(low[1], high[1]))
    return Samples(box, score, room, part.soft_mm, mask_level(part.kind))


def _free(frames: Frames, kind: str, box: Box) -> Floats:
    """(K, h, w) share that no other blood has, away from parts of the same kind."""
    free: Floats = (1 - frames.taken[box]) * ~frames.bone[box]
    if kind in frames.covers:
        free = free * clear_of(frames.covers[kind][box] > mask_level(kind))
    return free


def _add_part(frames: Frames, part: Part, pieces: list[tuple[int, slice, slice, Floats, Floats]]) -> None:
    """Fit a part that has its place in the template and put it in."""
    samples = _stack(pieces, part)
    if samples is None:
        return
    samples.room *= _free(frames, part.kind, samples.box)[:, None]
    cover, mask = fit_cover(samples, part.size.ml, frames.voxel_ml[samples.box[0]])
    texture = part.texture.at(frames.template[samples.box], part.shape.centre)
    _fill(frames, part.kind, part.size, samples.box, cover, mask, texture)


def _fill(
    frames: Frames,
    kind: str,
    size: PartSize,
    box: Box,
    cover: Floats,
    mask: NDArray[np.bool_],
    texture: Floats,
) -> None:
    """Solve the HU of a part and lay it over the scan."""
    blood = solve_hu(size.hu, mask, cover, frames.inside[box], frames.hu[box], texture)
    change = cover * (blood - frames.inside[box])
    frames.hu[box] += change
    frames.inside[box] += change
    frames.taken[box] += cover
    frames.placed.append((kind, size.hu, box, cover))
    whole = frames.covers.setdefault(kind, np.zeros_like(frames.hu))
    whole[box] = np.maximum(whole[box], cover)


def _correct(full: Floats, frames: Frames) -> dict[str, Floats]:
    """Take back, in place at the full matrix, what interpolation changed in the mean of each part.

    It overshoots at bone: two half-matrix pixels away the scan is darker by up to 7 % of the bone's contrast.

    Returns:
        Coverage (K, H, W) of each kind of bleed; what interpolation split off a part stays below the mask's level.
    """
    covers = {kind: np.zeros_like(full) for kind in frames.covers}
    for kind, wanted, (slices, rows, columns), cover in frames.placed:
        box = slices, slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop)
        fine = sharpen_twice(cover)
        mask = largest_piece(fine > mask_level(kind))
        if mask.any():
            error = wanted - float(full[box][mask].mean())
            full[box] += fine * f32(np.clip(error / float(fine[mask].mean()), -MOST_CORRECTED_HU, MOST_CORRECTED_HU))
        kept = np.where(mask, fine, np.minimum(fine, f32(0.7 * mask_level(kind))))
        covers[kind][box] = np.maximum(covers[kind][box], kept)
    return covers


def _add_fluid(frames: Frames, fluid: FluidBlood, geometry: Geometry) -> None:
    """Find a place for each part in ventricles or sulci, fit it and put it in."""
    rng = np.random.default_rng(fluid.seed)
    everywhere = tuple(slice(0, n) for n in frames.hu.shape)
    chances = fluid.chances(frames.template, frames.rooms[fluid.kind])
    frames.covers.setdefault(fluid.kind, np.zeros_like(frames.hu))
    for size in fluid.sizes:
        free = _free(frames, fluid.kind, (everywhere[0], everywhere[1], everywhere[2]))
        best: tuple[float, Box, Floats, NDArray[np.bool_]] | None = None
        for _ in range(TRIES):
            seed = pick_seed(rng, chances * (free > 0.7))
            if seed is None:
                break
            samples = _around(rng, frames, fluid.kind, size, seed, geometry)
            samples.room *= free[samples.box][:, None]
            cover, mask = fit_cover(samples, size.ml, frames.voxel_ml[samples.box[0]])
            ml = float(mask.sum(axis=(1, 2)) @ frames.voxel_ml[samples.box[0]])
            if best is None or abs(ml - size.ml) < abs(best[0] - size.ml):
                best = ml, samples.box, cover, mask
            if 0.8 < ml / size.ml < 1.25:
                break
        if best is not None:
            texture = FLUID_TEXTURE_HU * rng.standard_normal(best[2].shape, dtype=np.float32)
            _fill(frames, fluid.kind, size, best[1], best[2], best[3], texture)


def _around(
    rng: np.random.Generator,
    frames: Frames,
    kind: str,
    size: PartSize,
    seed: tuple[int, int, int],
    geometry: Geometry,
) -> Samples:
    """Samples of a part in fluid on a box around its seed."""
    radius = ball_radius_mm(kind, size.ml)
    reach = 1.5 * radius + 5.0
    heights = geometry.origins @ geometry.normal
    slices = np.flatnonzero(np.abs(heights - heights[seed[0]]) <= reach)
    wide = int(np.ceil(reach / frames.pixel_mm)) + 1
    rows, columns = (slice(max(at - wide, 0), min(at + wide + 1, frames.hu.shape[1])) for at in seed[1:])
    box = (slice(int(slices[0]), int(slices[-1]) + 1), rows, columns)
    offsets = (geometry.origins[box[0]] - geometry.origins[seed[0]])[:, None, None]
    offsets = offsets + ((np.arange(rows.start, rows.stop) - seed[1]) * frames.pixel_mm)[:, None, None] * geometry.down
    offsets = offsets + ((np.arange(columns.start, columns.stop) - seed[2]) * frames.pixel_mm)[:, None] * (
        geometry.right_to_left
    )
    score = fluid_score(rng, kind, offsets.astype(np.float32), radius, offsets.shape[:3])
    return Samples(box, score[:, None], frames.rooms[kind][box][:, None].copy(), 1.0, mask_level(kind))


def head_box(subject: Subject, points: Floats) -> tuple[slice, slice]:
    """Rows and columns of a slice that hold the head: the rest is air and need not be computed."""
    coarse = subject.to_template(np.ascontiguousarray(points[:, ::4, ::4]))
    wall, outside, _ = subject.template.surface.at(coarse)
    inside = ((outside > AIR + 50) | (wall < 8)).any(axis=0)
    if not inside.any():
        return slice(0, 8), slice(0, 8)
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    height, width = points.shape[1:3]
    return slice(max(4 * int(rows[0]) - 6, 0), min(4 * int(rows[-1]) + 8, height)), slice(
        max(4 * int(columns[0]) - 6, 0), min(4 * int(columns[-1]) + 8, width)
    )


def _noise(rng: np.random.Generator, geometry: Geometry, protocol: Protocol, spread: Floats) -> Floats:
    """Quantum noise: more where less radiation comes through and in thinner slices."""
    middle = float(np.median(spread[len(spread) // 2 :, geometry.matrix // 2, geometry.matrix // 2]))
    local = protocol.noise_hu * np.clip(spread / max(middle, 1e-6), 0.35, 2.2)
    thin = np.sqrt(5.0 / geometry.thickness).astype(np.float32)[:, None, None]
    noise = kernel_noise(rng, spread.shape, geometry.pixel_mm, protocol.kernel_lp_cm)
    return (noise * local * np.minimum(thin, 1.5)).astype(np.float32)


def _with_holder(rng: np.random.Generator, hu: Floats, pixel_mm: float) -> Floats:
    """Add the head holder in the scanner's frame, wherever there is air."""
    tall = np.abs(hu[:, :, :] + 1000).max(axis=0) > 400
    rows, columns = np.flatnonzero(tall.any(axis=1)), np.flatnonzero(tall.any(axis=0))
    size = hu.shape[-1]
    place = ((np.arange(size) - (size - 1) / 2) * pixel_mm).astype(np.float32)
    width = (columns[-1] - columns[0]) * pixel_mm / 2 + rng.uniform(3, 8)
    middle = (columns[-1] + columns[0] - size + 1) / 2 * pixel_mm
    depth = (rows[-1] - size / 2) * pixel_mm + rng.uniform(3, 7)
    arcs = holder(
        place[None, :] - f32(middle), place[:, None], float(width), float(depth), float(rng.uniform(*HOLDER_HU))
    )
    return np.maximum(hu, arcs[None])
