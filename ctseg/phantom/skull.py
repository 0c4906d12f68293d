"""Skull, face, scalp and neck of the template head: distances and simple solids at landmarks in MNI space (RAS mm)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ctseg.phantom.fields import Floats, Mm, edge, f32, grid_points, norm, ramp

LOW: Mm = (-98.0, -134.0, -104.0)
HIGH: Mm = (98.0, 114.0, 104.0)
"""Box of the template grid."""
SCALP_MM = 5.5
"""Mean scalp thickness of adults (Hori et al., 1972: 4-7 mm)."""
VAULT_MM = 6.5
"""Mean skull vault thickness (Lynnerup, Forensic Sci Int 2001: 5-8 mm)."""

AIR, FAT, MUSCLE, SKIN = -1000.0, -95.0, 52.0, 42.0
"""HU of air, subcutaneous fat, muscle and skin (Schneider et al., Phys Med Biol 1996; Hounsfield scale)."""
CORTICAL, PETROUS, CANCELLOUS = 1250.0, 1500.0, 450.0
"""HU of cortical bone, petrous (otic capsule) bone and diploe (Delye et al., 2015; 120 kVp head CT)."""
FACE_BONE = 800.0
"""HU of the thin bones of face and base at about 1 mm resolution (Schneider et al. 1996: 600-1100)."""
GLOBE, LENS, DURA, NERVE = 12.0, 75.0, 45.0, 38.0
"""HU of vitreous (near water), lens, sclera and optic nerve (Osborn's Brain: Imaging, Pathology and Anatomy)."""


def ball(points: Floats, centre: Mm, radii: Mm | float) -> Floats:
    """Depth in mm inside an ellipsoid, approximately."""
    size = np.broadcast_to(np.asarray(radii, dtype=np.float32), (3,))
    return (1 - norm((points - f32(centre)) / size)) * f32(size.min())


def rod(points: Floats, start: Mm, end: Mm, radius: float, end_radius: float | None = None) -> Floats:
    """Depth in mm inside a (tapering) rod with round ends."""
    a, axis = f32(start), f32(end) - f32(start)
    along = np.clip(((points - a) @ axis) / f32(axis @ axis), 0, 1)
    width = radius + along * ((radius if end_radius is None else end_radius) - radius)
    depth: Floats = (width - norm(points - a - along[..., None] * axis)).astype(np.float32)
    return depth


def head_depth(points: Floats, cavity: Floats) -> Floats:
    """Depth in mm under the skin: the vault's shell joined with face and neck."""
    z = points[..., 2]
    vault = VAULT_MM + SCALP_MM - cavity
    vault = np.where(z < -35, vault - 0.5 * (-35 - z), vault)
    face = ball(points, (0, 32, -62), (70, 62, 82))
    nose = rod(points, (0, 86, -40), (0, 97, -70), 5, 11)
    neck = 64 - norm((points - f32((0, -42, 0)))[..., :2] / f32((1.0, 1.05)))
    neck = np.minimum(neck, (-z - 34) * 0.6)
    ears = np.maximum(*(ball(points, (side * 84, -30, -38), (7, 17, 28)) for side in (-1, 1)))
    depth = np.maximum.reduce([vault, face, nose, neck, ears])
    smooth: Floats = ndimage.gaussian_filter(depth.astype(np.float32), 0.8)
    return smooth


def muscularity(points: Floats) -> Floats:
    """Where the soft tissue is muscle rather than fat: neck, masseter and temporalis."""
    y, z = points[..., 1], points[..., 2]
    return np.maximum(ramp(z, -10, -30), np.exp(-(((y - 5) / 32) ** 2) - ((z + 10) / 32) ** 2))


def shell_mm(points: Floats) -> Floats:
    """Thickness of the bone around the cavity: thick vault, thin temporal squama and orbital roofs."""
    x, y, z = (points[..., d] for d in range(3))
    base = ramp(z, -8, -36)
    thin_front = ramp(y, -10, 15) * base
    squama = np.exp(-(((np.abs(x) - 70) / 14) ** 2) - ((y + 8) / 25) ** 2 - ((z + 12) / 18) ** 2)
    occiput = np.exp(-((x / 18) ** 2) - ((y + 108) / 14) ** 2 - ((z + 18) / 12) ** 2)
    return (VAULT_MM - 1.8 * base - 2.0 * thin_front - 3.2 * squama + 5.0 * occiput).astype(np.float32)


class _Canvas:
    """HU outside the cavity on the template grid (or a box of it), painted solid by solid with soft edges."""

    def __init__(self, hu: Floats, grain: Floats, low: Mm = LOW) -> None:
        self.hu, self.grain, self.low = hu, grain, low
        self._points: Floats | None = None

    @property
    def points(self) -> Floats:
        """Positions of the voxels."""
        if self._points is None:
            self._points = grid_points(self.low, 1.0, self.hu.shape[::-1])
        return self._points

    def paint(self, depth: Floats, hu: float | Floats) -> None:
        """Lay `hu` over everything at a positive depth."""
        cover = edge(depth)
        self.hu += cover * (hu - self.hu)

    def box(self, centre: Mm, reach: float) -> _Canvas:
        """The part of the canvas within `reach` mm of a point, sharing memory."""
        start = [max(int(centre[d] - reach - self.low[d]), 0) for d in range(3)]
        stop = [max(int(centre[d] + reach - self.low[d]) + 1, start[d]) for d in range(3)]
        cut = tuple(slice(start[d], stop[d]) for d in (2, 1, 0))
        x, y, z = (self.low[d] + start[d] for d in range(3))
        return _Canvas(self.hu[cut], self.grain[cut], (x, y, z))


def _grain(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Floats:
    """Noise of unit variance, correlated over `scale` voxels, by tiling a periodic block of 64."""
    block = ndimage.gaussian_filter(rng.standard_normal((64, 64, 64), dtype=np.float32), scale, mode="wrap")
    block /= block.std()
    return np.tile(block, [-(-n // 64) for n in shape])[tuple(slice(n) for n in shape)]


def outside_hu(depth: Floats, muscular: Floats) -> Floats:
    """HU (Z, Y, X) of everything but the cavity and its shell, on the 1 mm template grid.

    Args:
        depth: mm under the skin.
        muscular: 0..1, muscle rather than fat.
    """
    rng = np.random.default_rng(1969)
    rough, fine = _grain(rng, depth.shape, 2.4), _grain(rng, depth.shape, 1.0)
    septa = ramp(np.abs(rough), 0.06, 0.22)  # fat planes between muscles
    muscle = ramp(muscular + 0.2 * rough, 0.35, 0.65) * ramp(depth, 4.5, 6.0) * septa
    hu = FAT + muscle * (MUSCLE - FAT) + 5 * fine
    hu = np.where(depth < 2.3, SKIN, hu)
    canvas = _Canvas((AIR + edge(depth) * (hu - AIR)).astype(np.float32), fine)
    for side in (-1.0, 1.0):
        _paint_orbit(canvas.box((side * 34, 45, -44), 46), side)
        _paint_face(canvas, side)
        _paint_temporal_bone(canvas.box((side * 45, -28, -44), 48), side)
    _paint_middle(canvas.box((0, 20, -50), 62))
    _paint_frontal_sinus(canvas.box((0, 78, -10), 32))
    _paint_vertebra(canvas.box((0, -42, -92), 45))
    return np.where(depth > -2, canvas.hu, f32(AIR))


def _paint_orbit(part: _Canvas, side: float) -> None:
    """Orbital cone with fat, muscles, nerve and globe."""
    cone = rod(part.points, (side * 34, 66, -42), (side * 14, 14, -38), 20, 3)
    part.paint(cone + 2.0, CORTICAL * 0.6)
    part.paint(cone, FAT)
    for dx, dz in ((9, 0), (-8, 0), (0, 9), (0, -9)):
        part.paint(rod(part.points, (side * 34 + dx * 1.1, 56, -42 + dz), (side * 16, 18, -38), 2.2, 1.5), MUSCLE)
    part.paint(rod(part.points, (side * 33, 46, -42), (side * 14, 12, -36), 2.2, 2.0), NERVE)
    part.paint(ball(part.points, (side * 34, 60, -42), 12.3), DURA)
    part.paint(ball(part.points, (side * 34, 60, -42), 11.2), GLOBE)
    part.paint(ball(part.points, (side * 34, 69, -42), (4.5, 2.2, 4.5)), LENS)


def _paint_face(canvas: _Canvas, side: float) -> None:
    """Orbital rims, zygoma and its arch, maxillary sinus and jaw."""
    part = canvas.box((side * 40, 45, -50), 50)
    part.paint(rod(part.points, (side * 52, 56, -34), (side * 50, 52, -62), 4.5), FACE_BONE)
    part.paint(rod(part.points, (side * 20, 78, -24), (side * 50, 60, -28), 4.0), FACE_BONE)
    sinus = ball(part.points, (side * 29, 46, -72), (15, 17, 17))
    part.paint(sinus + 1.5, FACE_BONE)
    part.paint(sinus, AIR)
    arch = canvas.box((side * 62, 25, -55), 50)
    arch.paint(rod(arch.points, (side * 56, 50, -58), (side * 68, -8, -54), 3.2), FACE_BONE)
    jaw = canvas.box((side * 54, -5, -80), 42)
    jaw.paint(rod(jaw.points, (side * 52, -8, -58), (side * 50, 8, -110), 5.5, 6.0), FACE_BONE)


def _paint_temporal_bone(part: _Canvas, side: float) -> None:
    """Petrous pyramid with its dense otic capsule, air cells of the mastoid and the ear canal."""
    marrow = (700 + 250 * part.grain).astype(np.float32)
    part.paint(rod(part.points, (side * 14, -10, -40), (side * 56, -34, -42), 8, 13), marrow)
    part.paint(rod(part.points, (side * 30, -20, -39), (side * 42, -28, -39), 6.5), PETROUS)
    mastoid = ball(part.points, (side * 57, -38, -50), (13, 16, 18))
    part.paint(mastoid, FACE_BONE)
    part.paint(mastoid - 2.5, np.where(part.grain > -0.3, AIR * 0.9, CANCELLOUS).astype(np.float32))
    part.paint(ball(part.points, (side * 44, -24, -44), (3, 5, 6)), AIR)
    part.paint(rod(part.points, (side * 46, -22, -45), (side * 90, -24, -46), 3.2), AIR)


def _paint_middle(part: _Canvas) -> None:
    """Sphenoid with its sinus, clivus, ethmoid cells and nose."""
    marrow = (CANCELLOUS + 120 * part.grain).astype(np.float32)
    part.paint(ball(part.points, (0, 10, -46), (22, 19, 15)), marrow)
    part.paint(rod(part.points, (0, -6, -36), (0, -26, -66), 8, 6), marrow)
    part.paint(rod(part.points, (-46, 22, -32), (46, 22, -32), 3.0), FACE_BONE)
    x, y, z = (part.points[..., d] for d in range(3))
    nasal = np.minimum.reduce([13 - np.abs(x), 44 - np.abs(y - 46), z + 100, -27 - z])
    part.paint(nasal + 1.2, CANCELLOUS)
    cells = np.where(np.abs(part.grain) < 0.22, 250.0, AIR)
    turbinates = np.where(np.abs(part.grain) < 0.5, MUSCLE, AIR)
    part.paint(nasal, np.where(z > -56, cells, turbinates).astype(np.float32))
    part.paint(1.0 - np.abs(x - 1.5) + np.minimum(nasal, 0), CANCELLOUS)
    for side in (-1.0, 1.0):
        part.paint(ball(part.points, (side * 8, 19, -44), (8.5, 12, 9)), AIR)


def _paint_frontal_sinus(part: _Canvas) -> None:
    """Frontal bone in the midline with its two sinuses."""
    part.paint(ball(part.points, (0, 76, -14), (28, 11, 20)), FACE_BONE)
    for side in (-1.0, 1.0):
        part.paint(ball(part.points, (side * 11, 77, -14), (11, 6.5, 14)), AIR)


def _paint_vertebra(part: _Canvas) -> None:
    """Atlas around the spinal canal, condyles beside the foramen magnum, the dens."""
    ring = norm((part.points - f32((0, -46, 0)))[..., :2] / f32((1.2, 1.0)))
    level = 6 - np.abs(part.points[..., 2] + 88)
    part.paint(np.minimum(4 - np.abs(ring - 19), level).astype(np.float32), FACE_BONE)
    for side in (-1.0, 1.0):
        part.paint(ball(part.points, (side * 23, -36, -84), (9, 11, 12)), FACE_BONE)
    part.paint(rod(part.points, (0, -24, -84), (0, -24, -112), 5.5), FACE_BONE)
