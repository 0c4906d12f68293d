from __future__ import annotations

import numpy as np
import pytest
from ctseg_reproduce.ood_study import area_under_curve, study_faults, summarise
from ctseg_reproduce.planted_faults import FAULTS

from ctseg.inference.ood import prepared_traits
from ctseg.inference.scan_traits import TITLES
from ctseg.io.volume import Volume
from ctseg.preprocess.ct import prepare_ct
from ctseg.preprocess.settings import PreprocessSettings

SETTINGS = PreprocessSettings(size=48, fov_mm=240.0)
BRAIN_HU = 32.0


def head(seed: int) -> Volume:
    """An egg of brain in a shell of bone, smaller towards both ends, with noise."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(np.linspace(-1, 1, 24), *[np.linspace(-1.2, 1.2, 60)] * 2, indexing="ij")
    radius = np.sqrt((0.95 * z) ** 2 + y**2 + (1.2 * x) ** 2)
    hu = np.where(radius < 0.85, BRAIN_HU, np.where(radius < 1.0, 900.0, -1000.0))
    hu = hu + rng.normal(0, 3, hu.shape) - 8 * ((radius < 0.25) & (radius > 0))
    origins = np.zeros((24, 3))
    origins[:, 2] = np.arange(24) * 5.0
    return Volume(
        hu.astype(np.float32), origins, np.array([0, 4.0, 0]), np.array([4.0, 0, 0]), "ct", f"case{seed}", "patient",
        slice_ids=tuple(str(k) for k in range(24)),
    )  # fmt: skip


def brain_of(volume: Volume) -> np.ndarray:
    """Brain is what lies inside bone: found by geometry, whatever the HU are."""
    inside = np.zeros(volume.voxels.shape, bool)
    for k, image in enumerate(volume.voxels):
        bone = image > max(200.0, 0.4 * image.max())
        before, after = np.maximum.accumulate(bone, axis=1), np.maximum.accumulate(bone[:, ::-1], axis=1)[:, ::-1]
        inside[k] = before & after & ~bone
    return inside


@pytest.fixture(scope="module")
def profile():
    """Ranges over eight such heads."""
    traits = []
    for seed in range(8):
        volume = head(seed)
        traits.append(prepared_traits(prepare_ct(volume, SETTINGS, brain_of(volume)), volume.z_mm, SETTINGS.pixel_mm))
    ranges = {name: [f([t.values[name] for t in traits]) for f in (min, max)] for name in TITLES}
    return {
        "form": 2, "ranges": ranges, "histogram": np.mean([t.histogram for t in traits], axis=0),
        "hu_per_bin": 8 / 2.55, "histogram_hu": [0.0, 0.2],
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows(profile):
    return study_faults([head(100), head(101)], profile, SETTINGS, brain_of)


def test_a_normal_scan_is_not_flagged_and_every_fault_is_planted_in_every_scan(rows):
    assert [row["fault"] for row in rows] == ["none", *FAULTS] * 2
    assert [row["flagged"] for row in rows if row["fault"] == "none"] == [False, False]


@pytest.mark.parametrize("fault", ["wrong HU", "MR", "cut head", "motion", "child's head", "contrast medium"])
def test_a_planted_fault_scores_above_a_normal_scan(rows, fault):
    assert summarise(rows)[fault]["auc"] == 1.0


def test_area_under_the_curve_is_the_share_of_ordered_pairs():
    assert area_under_curve([1, 2], [3, 4]) == 1.0
    assert area_under_curve([1, 2], [1, 2]) == 0.5
    assert area_under_curve([1, 2, 3, 4], [2.5]) == 0.5


def test_the_same_seed_plants_the_same_faults(profile):
    once, again = (study_faults([head(100)], profile, SETTINGS, brain_of, seed=3) for _ in range(2))
    assert [row["score"] for row in once] == [row["score"] for row in again]


def test_contrast_in_vessels_alone_brightens_what_lies_in_and_beside_fluid() -> None:
    """The head's fluid is the middle; most of the brain gets brighter by no more than tissue does."""
    volume = head(100)
    brain = brain_of(volume)
    changed = FAULTS["contrast in vessels alone"](np.random.default_rng(0), volume, brain)
    added = (changed.voxels - volume.voxels)[brain]
    assert np.quantile(added, 0.95) < 6
    assert added.max() > 10
    assert np.array_equal(changed.voxels[~brain], volume.voxels[~brain])
