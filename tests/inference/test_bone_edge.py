"""The width of bone's edge: of Gaussians, and of the real head as it is and smoothed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ctseg.inference.bone_edge import bone_edge_mm, smoothed_flags, soft_share
from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume
from ctseg.preprocess.brain import MuschelliExtractor

PIXEL_MM = 0.5
Mask = NDArray[np.bool_]


def head(sigma_mm: float, bone_hu: float = 1030.0, pixel_mm: float = PIXEL_MM) -> tuple[Volume, Mask]:
    """A disc of brain of 60 mm radius within 15 mm of bone, smoothed in the slices."""
    count = round(200 / pixel_mm)
    rows, cols = np.mgrid[:count, :count] * pixel_mm - 100
    radius = np.hypot(rows, cols)
    disc = np.where(radius < 60, 30.0, np.where(radius < 75, bone_hu, -1000.0))
    hu = np.repeat(gaussian_filter(disc, sigma_mm / pixel_mm)[None], 4, axis=0).astype(np.float32)
    volume = Volume(
        voxels=hu, origins_mm=np.array([(0.0, 0.0, 5.0 * k) for k in range(4)]),
        row_step_mm=np.array([0.0, pixel_mm, 0.0]), col_step_mm=np.array([pixel_mm, 0.0, 0.0]), domain="ct",
        case_id="case", patient_id="p",
    )  # fmt: skip
    return volume, np.repeat((radius < 59)[None], 4, axis=0)


@pytest.mark.parametrize("sigma_mm", [0.8, 1.0, 1.5, 2.0])
def test_the_edge_of_a_gaussian_is_two_and_a_half_deviations_wide(sigma_mm: float) -> None:
    volume, brain = head(sigma_mm)
    assert bone_edge_mm(volume, brain) == pytest.approx(np.sqrt(2 * np.pi) * sigma_mm, rel=0.12)


def test_wide_edges_are_flagged_for_the_pixels_of_the_network() -> None:
    assert smoothed_flags(*head(0.8), 1.5) == []
    [flag] = smoothed_flags(*head(1.5), 1.5)
    assert flag == "edge of bone 3.9 mm wide (sharp scans up to 3.0): bone may be taken for blood"
    assert smoothed_flags(*head(1.5), 2.5) == []  # wider pixels than that edge
    assert smoothed_flags(*head(2.5), 2.5)


def test_coarse_pixels_have_wide_edges() -> None:
    assert smoothed_flags(*head(0.8, pixel_mm=0.5), 1.5) == []
    assert smoothed_flags(*head(0.8, pixel_mm=4.0), 1.5)


def test_without_bone_only_the_width_of_pixels_is_said() -> None:
    volume, brain = head(1.5, bone_hu=90.0)
    assert np.isnan(bone_edge_mm(volume, brain))
    assert smoothed_flags(volume, brain, 1.5) == []
    [flag] = smoothed_flags(*head(1.5, bone_hu=90.0, pixel_mm=2.0), 1.5)
    assert flag == "pixels of 2.00 mm (the network's 1.50): the rim of the brain may be taken for blood"
    assert smoothed_flags(*head(1.5, bone_hu=90.0, pixel_mm=2.0), 2.0) == []
    assert np.isnan(bone_edge_mm(volume, np.zeros_like(brain)))
    assert np.isnan(bone_edge_mm(volume, np.ones_like(brain)))


def test_a_brain_that_was_resampled_after_it_was_stripped_has_a_soft_rim() -> None:
    volume, brain = head(0.2)
    noise = np.random.default_rng(0).normal(0, 4, volume.voxels.shape)
    stripped = replace(volume, voxels=np.where(brain, volume.voxels + noise, 0).astype(np.float32))
    assert soft_share(stripped, brain) < 0.1
    assert smoothed_flags(stripped, brain, 1.5) == []
    smooth = gaussian_filter(stripped.voxels, (0, 1, 1))
    soft = replace(volume, voxels=np.where(smooth > 1, smooth, 0).astype(np.float32))
    assert smoothed_flags(soft, soft.voxels > 1, 1.5) == [
        "soft rim: resampled after the skull was removed, so bone may be taken for blood"
    ]
    assert np.isnan(soft_share(volume, brain))  # bone around it


def test_few_lines_say_nothing() -> None:
    volume, brain = head(1.5)
    brain[:, :, :] = False
    brain[0, 195:205, 195:205] = True
    assert np.isnan(bone_edge_mm(volume, brain))


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_head_is_sharp_and_the_template_of_many_heads_is_not(real_data: Path) -> None:
    volume = read_case(discover([real_data / "ct-ge-tilted"], "ct").cases[0])
    brain = MuschelliExtractor()(volume)
    sigma = 1.2 / volume.spacing_mm[0]
    smooth = replace(volume, voxels=gaussian_filter(volume.voxels, (0, sigma, sigma)))
    assert smoothed_flags(volume, brain, 1.5) == []
    assert bone_edge_mm(volume, brain) == pytest.approx(2.09, abs=0.05)
    assert bone_edge_mm(smooth, brain) == pytest.approx(3.5, abs=0.1)
    template = read_case(discover([real_data / "ct-template" / "scct_hu_2mm.nii.gz"], "ct").cases[0])
    assert bone_edge_mm(template, MuschelliExtractor()(template)) > 4.5
