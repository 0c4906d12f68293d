"""MR patients on disk in the layout of the Medical Segmentation Decathlon's Task01_BrainTumour."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.files import write_json
from ctseg.io.stack import Grid
from ctseg.phantom.anatomy import Subject, Tissue, make_subject
from ctseg.phantom.fields import Floats, edge, ramp
from ctseg.phantom.glioma import Glioma, draw_glioma, labels
from ctseg.phantom.mr_contrast import SEQUENCES, MrTissue, acquire, texture

TASK = "Task01_BrainTumour"
FIELD_MM = 240.0
HEIGHT_MM = 155.0
BOTTOM_MM = -78.0
"""Patient height of the lowest slice, so that the brain lies in the 155 slices as BraTS's atlas has it."""
COMPRESSION = 1
"""gzip level: background zeros shrink at any level, noise at none."""


@dataclass(frozen=True)
class MrCase:
    """One MR patient of the cohort."""

    index: int
    matrix: int
    slices: int
    seed: tuple[int, ...]

    @property
    def name(self) -> str:
        """BRATS_001 and on."""
        return f"BRATS_{self.index + 1:03d}"


def make_mr_case(folder: Path, case: MrCase) -> dict[str, Any]:
    """Make one MR patient: image and label files; returns what to count."""
    anatomy, lesion, scanner = (np.random.default_rng(s) for s in np.random.SeedSequence(case.seed).spawn(3))
    subject = make_subject(anatomy, turned=0.15)
    glioma = draw_glioma(lesion)
    subject.add_lesions([glioma])
    points = _points(case)
    box = _brain_box(subject, points)
    fractions, inside = _fractions(subject, glioma, points[box])
    parts = {name: fractions[name] for name in ("rim", "oedema")} | {"core": fractions[glioma.core_tissue]}
    voxel_mm = FIELD_MM / case.matrix
    tissue = MrTissue(fractions, inside, texture(scanner, inside.shape, voxel_mm))
    label = np.zeros(points.shape[:3], dtype=np.uint8)
    label[box] = labels(parts) * (tissue.inside > 0)
    image = np.zeros((*points.shape[:3], len(SEQUENCES)), dtype=np.int16)
    for channel, sequence in enumerate(SEQUENCES):
        image[(*box, channel)] = np.rint(acquire(scanner, sequence, tissue, voxel_mm))
    _write(folder / TASK, case, image, label)
    grid = Grid.even(case.slices, (HEIGHT_MM / case.slices, voxel_mm, voxel_mm))
    return {
        "slices": int((label > 0).any(axis=(1, 2)).sum()),
        "tumour_ml": round(grid.volume_ml(label > 0), 2),
    }


def _points(case: MrCase) -> Floats:
    """(Z, Y, X, 3) patient points in Task01's order: x towards the right, y towards the front, z up (decision 3)."""
    step, rise = FIELD_MM / case.matrix, HEIGHT_MM / case.slices
    across = step * (np.arange(case.matrix) + 0.5) - FIELD_MM / 2
    points = np.empty((case.slices, case.matrix, case.matrix, 3), dtype=np.float32)
    points[..., 0], points[..., 1] = across, across[:, None]
    points[..., 2] = (BOTTOM_MM + rise * (np.arange(case.slices) + 0.5))[:, None, None]
    return points


def _brain_box(subject: Subject, points: Floats) -> tuple[slice, slice, slice]:
    """The part of the grid that holds the brain."""
    coarse = points[::4, ::4, ::4]
    inside = subject.template.surface.at(subject.to_template(coarse))[0] < 4
    where = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    z, y, x = (slice(max(4 * int(w[0]) - 4, 0), 4 * int(w[-1]) + 8) for w in where)
    return z, y, x


def _fractions(subject: Subject, glioma: Glioma, points: Floats) -> tuple[dict[str, Floats], Floats]:
    """Tissue fractions and brain mask on the grid, slab by slab to stay in the cache."""
    slabs = [_slab(subject, glioma, points[start : start + 8]) for start in range(0, len(points), 8)]
    joined = {name: np.concatenate([fractions[name] for fractions, _ in slabs]) for name in slabs[0][0]}
    inside = np.concatenate([mask for _, mask in slabs])
    return joined, _stripped(inside)


def _slab(subject: Subject, glioma: Glioma, points: Floats) -> tuple[dict[str, Floats], Floats]:
    tissue = subject.tissue(points)
    parts = glioma.fractions(tissue)
    rest = 1 - np.minimum(parts["core"] + parts["rim"] + parts["oedema"], 1)
    sick = _disease(tissue, subject.traits.leukoaraiosis)
    fractions = {
        "grey": tissue.grey * rest,
        "white": tissue.white * rest * (1 - sick),
        "disease": tissue.white * rest * sick,
        "fluid": tissue.fluid * rest,
        "rim": parts["rim"],
        "oedema": parts["oedema"],
        glioma.core_tissue: parts["core"],
    }
    solid = edge(-tissue.wall_mm - 1.5) * (1 - 0.75 * tissue.fluid * ramp(tissue.wall_mm, -8, -3))
    return fractions, solid


def _disease(tissue: Tissue, extent: float) -> Floats:
    """Periventricular caps and bands, wider with white matter disease (Fazekas et al., AJR 1987)."""
    return ramp(tissue.periventricular, 0.95 - 0.55 * extent, 1.15 - 0.4 * extent) * 0.8


def _stripped(solid: Floats) -> Floats:
    """Brain mask as a skull stripper leaves it: fluid at the surface mostly gone, the inside whole."""
    mask = ndimage.binary_opening(solid > 0.4, iterations=1)
    found, count = ndimage.label(mask)
    if count > 1:
        mask = found == 1 + np.argmax(np.bincount(found.ravel())[1:])
    filled: Floats = ndimage.binary_fill_holes(ndimage.binary_closing(mask, iterations=2)).astype(np.float32)
    return filled


def _write(task: Path, case: MrCase, image: NDArray[np.int16], label: NDArray[np.uint8]) -> None:
    """Store in (x, y, z) order with the identity affine that MSD's Task01 has."""
    for kind, array in (("imagesTr", image.transpose(2, 1, 0, 3)), ("labelsTr", label.transpose(2, 1, 0))):
        path = task / kind / f"{case.name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nifti = nib.Nifti1Image(array, np.diag([FIELD_MM / case.matrix] * 2 + [HEIGHT_MM / case.slices, 1.0]))
        with path.open("wb") as raw, gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as packed:
            packed.write(nifti.to_bytes())


def write_dataset_json(folder: Path, names: list[str]) -> None:
    """The decathlon's table of contents."""
    write_json(
        folder / TASK / "dataset.json",
        {
            "name": "BRATS",
            "description": "Gliomas segmentation necrotic/active tumour and oedema (simulated, no patient data)",
            "reference": "ctseg phantom",
            "licence": "Apache-2.0",
            "release": "1.0",
            "tensorImageSize": "4D",
            "modality": {str(number): name for number, name in enumerate(SEQUENCES)},
            "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
            "numTraining": len(names),
            "numTest": 0,
            "training": [
                {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names
            ],
            "test": [],
        },
    )
