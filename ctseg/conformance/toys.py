"""Small synthetic data for the checks: slices of both domains, slice sets, mask pairs and a CT head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.io.slices import SliceSet
from ctseg.io.stack import Grid, slab_mm
from ctseg.io.volume import Volume
from ctseg.metrics.pair import MaskPair

Slices = tuple[NDArray[np.uint8], NDArray[np.uint8]]
ODD_SIZE = (37, 53)
GREYS = {"mr": (110, 220), "ct": (70, 170)}
"""Brain and lesion, of 255."""
AIR_HU, SCALP_HU, SKULL_HU, BRAIN_HU = -1000.0, -80.0, 1000.0, 35.0


def toy_slices(domain: str, count: int, size: tuple[int, int] = ODD_SIZE, seed: int = 0) -> Slices:
    """(N, H, W) uint8 slices with 0 around an oval brain and a bright lesion in it, and their masks; read-only.

    Read-only as the memory maps of a slice set are. The last slice equals the first, so that ties occur.
    """
    rng = np.random.default_rng([seed, len(domain), ord(domain[0])])
    images, masks = np.zeros((count, *size), np.uint8), np.zeros((count, *size), np.uint8)
    for place in range(count):
        centre = rng.uniform(0.35, 0.65, 2)
        brain, lesion = _oval(size, (0.5, 0.5), 0.45), _oval(size, centre, rng.uniform(0.08, 0.2))
        grey, bright = GREYS[domain]
        noise = rng.integers(-10, 11, size)
        images[place] = np.where(brain, np.where(lesion, bright, grey) + noise, 0)
        masks[place] = lesion & brain
    images[-1], masks[-1] = images[0], masks[0]
    images.flags.writeable = masks.flags.writeable = False
    return images, masks


def _oval(size: tuple[int, int], centre: Any, radius: float) -> NDArray[np.bool_]:
    """Centre and radius as shares of the height and width."""
    rows, columns = (np.arange(side)[:, None] / side for side in size)
    distance: NDArray[np.float64] = (rows - centre[0]) ** 2 + (columns.T - centre[1]) ** 2
    return distance < radius**2


def toy_set(domain: str, count: int = 8, size: tuple[int, int] = (40, 40)) -> SliceSet:
    """A slice set in memory, four slices a patient, the last patient in the validation split; MR is labelled."""
    images, masks = toy_slices(domain, count, size)
    patients = np.arange(count) // 4
    table = pd.DataFrame(
        {
            "slice_id": [f"{domain}-{place}" for place in range(count)],
            "patient_id": [f"{domain}-p{patient}" for patient in patients],
            "series_id": [f"{domain}-s{patient}" for patient in patients],
            "split": np.where(patients < patients.max(), "train", "val"),
        }
    )
    info = {"domain": domain, "size": list(size), "intensity": {}, "settings": {}, "counts": {"slices": count}}
    return SliceSet(Path(f"toy-{domain}"), images, masks if domain == "mr" else None, table, info)


def toy_pairs() -> dict[str, MaskPair]:
    """Mask pairs by name on tilted, uneven slices; `both`, `reference` and `prediction` say which mask is empty."""
    z = np.array([0.0, 4.2, 8.4, 9.5, 16.9])
    origins = np.stack([np.full(5, 3.0), 0.3 * z, z], axis=1)
    grid = Grid(origins, np.array([0.0, 0.6, 0.0]), np.array([0.5, 0.0, 0.0]), slab_mm(z))
    one, other, apart, none = np.zeros((4, 5, 17, 14), bool)
    one[1:4, 3:11, 2:9], one[2, 14, 12] = True, True
    other[2:5, 5:13, 4:10], other[0, 1, 1] = True, True
    apart[0, 13:16, 11:13] = True
    masks = {
        "overlapping": (one, other), "apart": (apart, other), "equal": (one, one), "both": (none, none),
        "reference": (one, none), "prediction": (none, one),
    }  # fmt: skip
    pairs = {name: MaskPair.of(pred, ref, grid) for name, (pred, ref) in masks.items()}
    flat = Grid.even(1, (5.0, 0.6, 0.5))
    return {**pairs, "of one slice": MaskPair.of(one[2:3], other[2:3], flat)}


def toy_head(slices: int = 12, size: int = 64, field_mm: float = 256.0, slice_mm: float = 11.0) -> Volume:
    """An ellipsoid head in HU: brain in a closed skull in a scalp in air; 147 x 177 x 120 mm outside."""
    spacing = field_mm / size
    k, i, j = np.ogrid[:slices, :size, :size]
    middle = np.array([slices - 1, size - 1, size - 1]) / 2
    z, y, x = (k - middle[0]) * slice_mm, (i - middle[1]) * spacing, (j - middle[2]) * spacing

    def inside(by_mm: float) -> Any:
        half = np.array([60.0, 88.5, 73.5]) - by_mm
        return (z / half[0]) ** 2 + (y / half[1]) ** 2 + (x / half[2]) ** 2 < 1

    hu = np.full((slices, size, size), AIR_HU, np.float32)
    for depth_mm, value in ((0.0, SCALP_HU), (6.0, SKULL_HU), (14.0, BRAIN_HU)):
        hu[inside(depth_mm)] = value
    noise = np.random.default_rng(0).normal(0, 3, hu.shape).astype(np.float32)
    return volume_of(hu + np.where(hu > AIR_HU, noise, 0), spacing, slice_mm)


def volume_of(voxels: NDArray[np.float32], pixel_mm: float, slice_mm: float) -> Volume:
    """A CT volume of axial slices; its voxels are read-only."""
    voxels = voxels.astype(np.float32)
    voxels.flags.writeable = False
    origins = np.zeros((len(voxels), 3))
    origins[:, 2] = np.arange(len(voxels)) * slice_mm
    return Volume(
        voxels=voxels,
        origins_mm=origins,
        row_step_mm=np.array([0.0, pixel_mm, 0.0]),
        col_step_mm=np.array([pixel_mm, 0.0, 0.0]),
        domain="ct",
        case_id="toy",
        patient_id="toy",
        slice_ids=tuple(f"toy_{place}" for place in range(len(voxels))),
        slice_keys=tuple(range(len(voxels))),
        thickness_mm=slice_mm,
    )
