"""The head that every patient is a deformation of: MNI152 brain maps inside a procedural skull, face and scalp.

Brain: grey and white matter probabilities of the ICBM 152 2009a template (Fonov et al., NeuroImage 2011), as packaged by nilearn.
Everything outside the brain is built from distances and simple solids at landmarks in MNI space, because no template with a skull may be
shipped. Positions are RAS mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.phantom.fields import Field, Floats, Mm, edge, grid_points, norm, ramp

LOW: Mm = (-104.0, -146.0, -112.0)
HIGH: Mm = (104.0, 118.0, 118.0)
SCALP_MM = 5.5
"""Mean scalp thickness of adults (Hori et al., 1972: 4-7 mm)."""
VAULT_MM = 6.5
"""Mean skull vault thickness (Lynnerup, Forensic Sci Int 2001: 5-8 mm)."""

AIR, FAT, MUSCLE, SKIN = -1000.0, -95.0, 52.0, 30.0
"""HU of air, subcutaneous fat, muscle and skin (Schneider et al., Phys Med Biol 1996; Hounsfield scale)."""
CORTICAL, PETROUS, CANCELLOUS = 1250.0, 1500.0, 450.0
"""HU of cortical bone, petrous (otic capsule) bone and diploe (Delye et al., 2015; 120 kVp head CT)."""
GLOBE, LENS, DURA = 12.0, 75.0, 45.0
"""HU of vitreous (near water), lens and dura (Naidich, Neuroradiology)."""


@dataclass(frozen=True)
class HeadTemplate:
    """Maps in template space."""

    surface: Field
    """Channels: signed distance to the cranial cavity in mm (negative inside), HU outside the cavity and its bony shell, shell mm."""
    brain: Field
    """Channels: grey matter, white matter, ventricle weight, white matter smoothed over 4 mm, nearness to the ventricles."""
    ventricle_push: Field
    """(3 channels) mm by which template points move towards the ventricles when these widen by about one mm."""


def _grid(step: float) -> tuple[int, ...]:
    return tuple(int(round((high - low) / step)) + 1 for low, high in zip(LOW, HIGH))


def _paste(image: NDArray[np.float64], affine: NDArray[np.float64]) -> Floats:
    """An (x, y, z) 1 mm template image on our (z, y, x) grid."""
    out = np.zeros(_grid(1.0)[::-1], dtype=np.float32)
    start = [int(round(affine[d, 3] - LOW[d])) for d in range(3)]
    box = tuple(slice(s, s + n) for s, n in zip(start[::-1], image.shape[::-1]))
    out[box] = image.T
    return out


def _closed(mask: NDArray[np.bool_], radius_mm: float, step: float) -> NDArray[np.bool_]:
    """Morphological closing by a ball, by distance maps."""
    grown = ndimage.distance_transform_edt(~mask) * step <= radius_mm
    return ndimage.distance_transform_edt(grown) * step > radius_mm


def _cavity_distance(brain: Floats) -> Floats:
    """Signed distance to the cranial cavity on the 1 mm grid, computed at 2 mm.

    The cavity is the brain with its fissures and basal cisterns closed and a thin layer of fluid around it. Fissures are closed widely above
    the skull base only, so that the petrous ridges and the sphenoid wings stay outside.
    """
    mask = brain[::2, ::2, ::2] > 0.5
    points = grid_points(LOW, 2.0, mask.shape[::-1])
    x, y, z = (points[..., d] for d in range(3))
    small = _closed(mask, 4.0, 2.0)
    wide = _closed(mask, 16.0, 2.0) & (z > -14 + 0.25 * np.abs(y + 20))
    cistern = ((x / 17) ** 2 + ((y + 12) / 20) ** 2 + ((z + 22) / 11) ** 2 < 1) | (
        (x / 14) ** 2 + ((y + 14) / 8) ** 2 < 1
    ) & ((z < -20) & (z > -60))
    canal = (x**2 + (y + 44 - 0.15 * (z + 70)) ** 2 < 12**2) & (z < -50)
    solid = small | wide | cistern | canal
    distance = (ndimage.distance_transform_edt(~solid) - ndimage.distance_transform_edt(solid)) * 2.0 - 1.5
    return _fine(ndimage.gaussian_filter(distance.astype(np.float32), 0.8))


def _fine(coarse: Floats) -> Floats:
    """A 2 mm map on the 1 mm grid."""
    return Field.of(coarse[None], LOW, 2.0).at(grid_points(LOW, 1.0, _grid(1.0)))[0]


def _ball(points: Floats, centre: Mm, radii: Mm | float) -> Floats:
    """Depth in mm inside an ellipsoid, approximately."""
    size = np.broadcast_to(np.asarray(radii, dtype=np.float32), (3,))
    return (1 - norm((points - np.float32(centre)) / size)) * np.float32(size.min())


def _rod(points: Floats, start: Mm, end: Mm, radius: float, end_radius: float | None = None) -> Floats:
    """Depth in mm inside a (tapering) rod with round ends."""
    a, axis = np.float32(start), np.float32(end) - np.float32(start)
    along = np.clip(((points - a) @ axis) / np.float32(axis @ axis), 0, 1)
    width = radius + along * ((radius if end_radius is None else end_radius) - radius)
    return (width - norm(points - a - along[..., None] * axis)).astype(np.float32)


def _head_depth(points: Floats, cavity: Floats) -> Floats:
    """Depth in mm under the skin: the vault's shell joined with face and neck."""
    x, y, z = (points[..., d] for d in range(3))
    vault = VAULT_MM + SCALP_MM - cavity
    vault = np.where(z < -35, vault - 0.5 * (-35 - z), vault)
    face = _ball(points, (0, 32, -62), (70, 62, 82))
    nose = _rod(points, (0, 86, -40), (0, 97, -70), 5, 11)
    neck = 64 - norm((points - np.float32((0, -42, 0)))[..., :2] / np.float32((1.0, 1.05)))
    neck = np.minimum(neck, (-z - 34) * 0.6)
    ears = np.maximum(*(_ball(points, (side * 84, -30, -38), (7, 17, 28)) for side in (-1, 1)))
    depth = np.maximum.reduce([vault, face, nose, neck, ears])
    return ndimage.gaussian_filter(depth.astype(np.float32), 1.5)


def _shell_mm(points: Floats) -> Floats:
    """Thickness of the bone around the cavity: thick vault, thin temporal squama and orbital roofs."""
    x, y, z = (points[..., d] for d in range(3))
    base = ramp(z, -8, -36)
    thin_front = ramp(y, -10, 15) * base
    squama = np.exp(-(((np.abs(x) - 70) / 14) ** 2) - ((y + 8) / 25) ** 2 - ((z + 12) / 18) ** 2)
    occiput = np.exp(-((x / 18) ** 2) - ((y + 108) / 14) ** 2 - ((z + 18) / 12) ** 2)
    return (VAULT_MM - 1.8 * base - 2.0 * thin_front - 3.2 * squama + 5.0 * occiput).astype(np.float32)


class _Canvas:
    """HU outside the cavity, painted solid by solid with partial volume at the edges."""

    def __init__(self, hu: Floats, points: Floats) -> None:
        self.hu, self.points = hu, points

    def paint(self, depth: Floats, hu: float | Floats) -> None:
        cover = edge(depth)
        self.hu += cover * (hu - self.hu)

    def box(self, centre: Mm, reach: float) -> _Canvas:
        """The part of the canvas within `reach` mm of a point, sharing memory."""
        cut = []
        for d in (2, 1, 0):
            low = int(max(centre[d] - reach - LOW[d], 0))
            cut.append(slice(low, max(int(centre[d] + reach - LOW[d]) + 1, low)))
        return _Canvas(self.hu[tuple(cut)], self.points[tuple(cut)])


def _outside_hu(points: Floats, depth: Floats, cavity: Floats) -> Floats:
    """HU of everything but the cavity and its shell."""
    rng = np.random.default_rng(1969)
    z, y = points[..., 2], points[..., 1]
    rough = ndimage.gaussian_filter(rng.standard_normal(depth.shape, dtype=np.float32), 2.2)
    rough /= rough.std()
    fine = ndimage.gaussian_filter(rng.standard_normal(depth.shape, dtype=np.float32), 1.0)
    fine /= fine.std()
    muscular = np.maximum(ramp(z, -10, -30), np.exp(-(((y - 5) / 32) ** 2) - ((z + 10) / 32) ** 2))
    muscle = ramp(muscular + 0.18 * rough, 0.35, 0.65) * ramp(depth, 4.5, 6.0)
    hu = FAT + muscle * (MUSCLE - FAT) + 5 * fine
    hu = np.where(depth < 2.0, SKIN, hu)
    hu = AIR + edge(depth) * (hu - AIR)
    canvas = _Canvas(hu.astype(np.float32), points)
    for side in (-1.0, 1.0):
        _paint_side(canvas, side, rough, fine)
    _paint_middle(canvas, fine)
    return np.where(depth > -2, canvas.hu, np.float32(AIR))


def _paint_side(canvas: _Canvas, side: float, rough: Floats, fine: Floats) -> None:
    """Orbit, cheek, jaw, petrous and mastoid bone of one side."""
    part = canvas.box((side * 34, 45, -44), 46)
    cone = _rod(part.points, (side * 34, 66, -42), (side * 14, 14, -38), 20, 3)
    part.paint(cone + 2.0, CORTICAL * 0.6)
    part.paint(cone, FAT)
    for dx, dz in ((9, 0), (-8, 0), (0, 9), (0, -9)):
        part.paint(_rod(part.points, (side * 34 + dx * 1.1, 56, -42 + dz), (side * 16, 18, -38), 2.2, 1.5), MUSCLE)
    part.paint(_rod(part.points, (side * 33, 46, -42), (side * 14, 12, -36), 2.2, 2.0), 38.0)
    part.paint(_ball(part.points, (side * 34, 60, -42), 12.3), DURA)
    part.paint(_ball(part.points, (side * 34, 60, -42), 11.2), GLOBE)
    part.paint(_ball(part.points, (side * 34, 69, -42), (4.5, 2.2, 4.5)), LENS)
    part.paint(_rod(part.points, (side * 52, 56, -34), (side * 50, 52, -62), 4.5), 900.0)
    part.paint(_rod(part.points, (side * 20, 78, -24), (side * 50, 60, -28), 4.0), 900.0)
    sinus = _ball(part.points, (side * 29, 46, -72), (15, 17, 17))
    part.paint(sinus + 1.5, 700.0)
    part.paint(sinus, AIR)
    canvas.box((side * 62, 25, -55), 50).paint(
        _rod(canvas.box((side * 62, 25, -55), 50).points, (side * 56, 50, -58), (side * 68, -8, -54), 3.2), 800.0
    )
    jaw = canvas.box((side * 54, -5, -80), 42)
    jaw.paint(_rod(jaw.points, (side * 52, -8, -58), (side * 50, 8, -110), 5.5, 6.0), 900.0)
    _paint_temporal_bone(canvas, side, rough, fine)


def _paint_temporal_bone(canvas: _Canvas, side: float, rough: Floats, fine: Floats) -> None:
    """Petrous pyramid with its dense otic capsule, air cells of the mastoid and the ear canal."""
    part = canvas.box((side * 45, -28, -44), 38)
    marrow = _Canvas(fine, canvas.points).box((side * 45, -28, -44), 38).hu
    part.paint(
        _rod(part.points, (side * 14, -10, -40), (side * 56, -34, -42), 8, 13), (700 + 250 * marrow).astype(np.float32)
    )
    part.paint(_rod(part.points, (side * 30, -20, -39), (side * 42, -28, -39), 6.5, 6.5), PETROUS)
    mastoid = _ball(part.points, (side * 57, -38, -50), (13, 16, 18))
    part.paint(mastoid, 650.0)
    cells = np.where(marrow > -0.3, AIR * 0.9, 450.0).astype(np.float32)
    part.paint(mastoid - 2.5, cells)
    part.paint(_ball(part.points, (side * 44, -24, -44), (3, 5, 6)), AIR)
    part.paint(_rod(part.points, (side * 46, -22, -45), (side * 90, -24, -46), 3.2), AIR)


def _paint_middle(canvas: _Canvas, fine: Floats) -> None:
    """Sphenoid, clivus, ethmoid cells, nose, frontal sinus and the first vertebra."""
    part = canvas.box((0, 20, -50), 62)
    trabeculae = _Canvas(fine, canvas.points).box((0, 20, -50), 62).hu
    marrow = (CANCELLOUS + 120 * trabeculae).astype(np.float32)
    part.paint(_ball(part.points, (0, 10, -46), (22, 19, 15)), marrow)
    part.paint(_rod(part.points, (0, -6, -36), (0, -26, -66), 8, 6), marrow)
    part.paint(_rod(part.points, (-46, 22, -32), (46, 22, -32), 3.0), 800.0)
    nasal = np.minimum(13 - np.abs(part.points[..., 0]), 44 - np.abs(part.points[..., 1] - 46))
    nasal = np.minimum(nasal, np.minimum(part.points[..., 2] + 100, -27 - part.points[..., 2])).astype(np.float32)
    part.paint(nasal + 1.2, 500.0)
    septa = np.where(np.abs(trabeculae) < 0.22, 250.0, AIR).astype(np.float32)
    part.paint(nasal, np.where(part.points[..., 2] > -56, septa, np.where(np.abs(trabeculae) < 0.5, MUSCLE, AIR)))
    part.paint(1.0 - np.abs(part.points[..., 0] - 1.5) + np.minimum(nasal, 0), 400.0)
    for side in (-1.0, 1.0):
        part.paint(_ball(part.points, (side * 8, 19, -44), (8.5, 12, 9)), AIR)
    front = canvas.box((0, 78, -10), 32)
    bone = _ball(front.points, (0, 76, -14), (28, 11, 20))
    front.paint(bone, 900.0)
    for side in (-1.0, 1.0):
        front.paint(_ball(front.points, (side * 11, 77, -14), (11, 6.5, 14)), AIR)
    _paint_vertebra(canvas)


def _paint_vertebra(canvas: _Canvas) -> None:
    """Atlas around the spinal canal, condyles beside the foramen magnum."""
    part = canvas.box((0, -42, -92), 45)
    ring = norm((part.points - np.float32((0, -46, 0)))[..., :2] / np.float32((1.2, 1.0)))
    level = 6 - np.abs(part.points[..., 2] + 88)
    part.paint(np.minimum(4 - np.abs(ring - 19), level).astype(np.float32), 700.0)
    for side in (-1.0, 1.0):
        part.paint(_ball(part.points, (side * 23, -36, -84), (9, 11, 12)), 650.0)
    part.paint(_rod(part.points, (0, -24, -84), (0, -24, -112), 5.5), 650.0)


def _ventricle(grey: Floats, white: Floats, cavity: Floats, points: Floats) -> Floats:
    """Weight 0..1 of the ventricles: deep fluid near the midline of the template."""
    fluid = ramp(1 - grey - white, 0.15, 0.5)
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    deep = (x < 40) & (z > -48) & (z < 36 - 0.004 * y**2) & (cavity < -16) & (y > -82) & (y < 36)
    deep &= (z > -16) | ((x < 14) & (y < -32) & (y > -60))
    deep &= (x < 12 + np.clip(-y, 0, 45) * 0.55) | ((x < 22) & (y > 5) & (z > -6))
    deep &= ~((x < 14) & (y < -36) & (z > -20)) & ~((x < 5) & (y > 20))
    labels, count = ndimage.label((fluid > 0.3) & deep)
    if count == 0:
        return fluid * 0
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.isin(labels, 1 + np.flatnonzero(sizes > 150))
    return fluid * ndimage.binary_dilation(kept, iterations=1)


def _push_field(ventricle: Floats) -> Field:
    """Gradient of the smoothed ventricles, unit length where it is steepest, at 2 mm."""
    smooth = ndimage.gaussian_filter(ventricle, 4.0)[::2, ::2, ::2]
    gradient = np.stack(np.gradient(smooth)[::-1])
    return Field.of(gradient / max(float(np.abs(gradient).max()), 1e-6), LOW, 2.0)


@lru_cache(maxsize=1)
def head_template() -> HeadTemplate:
    """Build the template head, once a process (a few seconds)."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    images = [load(resolution=1) for load in (load_mni152_gm_template, load_mni152_wm_template, load_mni152_brain_mask)]
    grey, white, brain = (_paste(np.asarray(i.dataobj, dtype=np.float64), i.affine) for i in images)
    points = grid_points(LOW, 1.0, _grid(1.0))
    cavity = _cavity_distance(brain)
    outside = _outside_hu(points, _head_depth(points, cavity), cavity)
    cord = edge(_rod(points, (0, -44, -66), (0, -49, -112), 6.0))
    white = np.maximum(white, cord * 0.7)
    grey = np.maximum(grey, cord * 0.3)
    ventricle = _ventricle(grey, white, cavity, points)
    surface = np.stack([cavity, outside, _shell_mm(points)])
    near = np.clip(5 * ndimage.gaussian_filter(ventricle, 5.0), 0, 1)
    brain_maps = np.stack([grey, white, ventricle, ndimage.gaussian_filter(white, 4.0), near])
    return HeadTemplate(Field.of(surface, LOW, 1.0), Field.of(brain_maps, LOW, 1.0), _push_field(ventricle))
