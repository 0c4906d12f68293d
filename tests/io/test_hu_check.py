from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ctseg.errors import CaseError
from ctseg.io.hu_check import NARROW_HU, Histogram, _is_narrow, check_hu
from ctseg.io.volume import Volume

SHAPE = (4, 40, 40)


def volume_of(voxels: np.ndarray) -> Volume:
    return Volume(
        voxels=np.asarray(voxels, np.float32),
        origins_mm=np.arange(len(voxels))[:, None] * [0.0, 0.0, 5.0],
        row_step_mm=np.array([0.0, 0.5, 0.0]),
        col_step_mm=np.array([0.5, 0.0, 0.0]),
        domain="ct",
        case_id="case",
        patient_id="case",
    )


@pytest.fixture
def head_hu(rng: np.random.Generator) -> np.ndarray:
    """Air with noise, a ring of bone, brain and CSF inside."""
    rows, columns = np.indices(SHAPE[1:]) - 19.5
    radius = np.broadcast_to(np.hypot(rows, columns), SHAPE)
    hu = np.where(radius < 16, 33.0, -1000.0)
    hu[radius < 4] = 8
    hu[(radius >= 14) & (radius < 16)] = 900
    return np.maximum(np.round(hu + rng.normal(0, 6, SHAPE)), -1024)


def test_hu_pass_without_a_word(head_hu: np.ndarray) -> None:
    checked = check_hu(volume_of(head_hu))
    assert checked.notes == ()
    np.testing.assert_array_equal(checked.voxels, head_hu)


def test_values_wrapped_by_4096_are_corrected(head_hu: np.ndarray) -> None:
    checked = check_hu(volume_of(np.where(head_hu < 0, head_hu + 4096, head_hu)))
    np.testing.assert_array_equal(checked.voxels, head_hu)
    assert any("wrapped by 4096" in note for note in checked.notes)


def test_wrapped_padding_of_minus_2000_becomes_air(head_hu: np.ndarray) -> None:
    padded = head_hu.copy()
    padded[:, :4] = -2000
    checked = check_hu(volume_of(np.where(padded < 0, padded + 4096, padded)))
    assert (checked.voxels[:, :4] == -1024).all()
    np.testing.assert_array_equal(checked.voxels[:, 4:], head_hu[:, 4:])


def test_a_lost_intercept_is_corrected(head_hu: np.ndarray) -> None:
    checked = check_hu(volume_of(head_hu + 1024))
    np.testing.assert_array_equal(checked.voxels, head_hu)
    assert any("intercept of -1024 is missing" in note for note in checked.notes)


def test_a_lost_intercept_is_corrected_inside_padding(head_hu: np.ndarray) -> None:
    shifted = head_hu + 1024
    shifted[:, :3] = -1024
    checked = check_hu(volume_of(shifted))
    np.testing.assert_array_equal(checked.voxels[:, 3:], head_hu[:, 3:])
    assert (checked.voxels[:, :3] == -1024).all()


@pytest.mark.parametrize("intercept", [-1000, -1024, -8192])
@pytest.mark.parametrize("is_clipped", [False, True])
def test_the_lost_intercept_is_found_by_air_and_tissue(head_hu: np.ndarray, intercept: int, is_clipped: bool) -> None:
    stored = head_hu - intercept
    checked = check_hu(volume_of(np.maximum(stored, 0) if is_clipped else stored))
    inside = head_hu > -900
    np.testing.assert_array_equal(checked.voxels[inside], head_hu[inside])
    assert any(f"intercept of {intercept} is missing" in note for note in checked.notes)


def test_an_intercept_that_air_and_tissue_disagree_about_is_refused(head_hu: np.ndarray) -> None:
    stored = np.where(head_hu < -500, head_hu + 1000, head_hu + 1024)
    with pytest.raises(CaseError, match=r"its intercept is lost, and air at -?\d, soft tissue at 105\d do not tell"):
        check_hu(volume_of(stored))


def test_a_clipped_scan_with_bone_at_1000_keeps_its_intercept(head_hu: np.ndarray) -> None:
    clipped = np.clip(np.where(head_hu > 800, head_hu + 120, head_hu), 0, 2000)
    np.testing.assert_array_equal(check_hu(volume_of(clipped)).voxels, clipped)


def test_an_mr_with_its_brain_at_1050_is_refused(head_hu: np.ndarray, rng: np.random.Generator) -> None:
    mr = np.where(head_hu > -500, rng.normal(1050, 200, SHAPE), 0)
    with pytest.raises(CaseError, match="not HU"):
        check_hu(volume_of(mr))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 10)])
def test_scaled_values_are_refused(head_hu: np.ndarray, low: float, high: float) -> None:
    scaled = low + np.clip(head_hu / 80, 0, 1) * (high - low)
    with pytest.raises(CaseError, match=f"case: not HU: values from {low} to {high}, so scaled"):
        check_hu(volume_of(scaled))


def test_negative_values_wrapped_by_65536_are_refused(head_hu: np.ndarray) -> None:
    with pytest.raises(CaseError, match="negative values are wrapped by 65536"):
        check_hu(volume_of(head_hu % 65536))


@pytest.mark.slow
@pytest.mark.parametrize("intercept", [-1000, -1024, -8192])
def test_a_real_scan_gets_its_lost_intercept_back(real_data: Path, intercept: int) -> None:
    from ctseg.io.discover import discover, read_case

    (case,) = discover(real_data / "ct-ge-tilted", "ct").cases
    volume = read_case(case)
    lost = np.maximum(volume.voxels - intercept, 0)
    checked = check_hu(volume.with_voxels(lost))
    inside = volume.voxels > -900
    np.testing.assert_array_equal(checked.voxels[inside], volume.voxels[inside])


@pytest.mark.parametrize("window", [(-200, 200), (0, 100), (-100, 300)])
def test_clipped_scans_are_used_and_said(head_hu: np.ndarray, window: tuple[int, int]) -> None:
    clipped = np.clip(head_hu, *window)
    checked = check_hu(volume_of(clipped))
    np.testing.assert_array_equal(checked.voxels, clipped)
    assert any(f"values from {window[0]} to" in note and "clipped" in note for note in checked.notes)


def test_a_stripped_brain_is_used_and_said(head_hu: np.ndarray) -> None:
    brain = np.where((head_hu > -50) & (head_hu < 100), head_hu, 0)
    assert any("skull-stripped" in note for note in check_hu(volume_of(brain)).notes)


@pytest.mark.parametrize("scale", [0.5, 3.0, 10.0])
def test_other_scales_are_refused(head_hu: np.ndarray, scale: float) -> None:
    mr = np.maximum(head_hu + 200, 0) * scale
    with pytest.raises(CaseError, match="case: not HU"):
        check_hu(volume_of(mr))


def test_pictures_with_256_grey_values_are_refused(head_hu: np.ndarray) -> None:
    with pytest.raises(CaseError, match="not HU"):
        check_hu(volume_of(np.clip((head_hu + 20) / 100, 0, 1) * 255))


def test_odd_air_and_shifted_tissue_are_said(head_hu: np.ndarray) -> None:
    low = np.where(head_hu < -500, head_hu + 400, head_hu - 50)
    notes = check_hu(volume_of(low)).notes
    assert any(note.startswith("air lies at -6") for note in notes)
    assert any("soft tissue peaks at -" in note for note in notes)


def test_empty_air_is_said_not_refused() -> None:
    assert check_hu(volume_of(np.full(SHAPE, -1024.0))).notes == ("all voxels have the same value",)


@pytest.mark.slow
def test_real_scans_pass(real_data: Path) -> None:
    from ctseg.io.nifti.volumes import read_nifti

    assert read_nifti(real_data / "ct-template/scct_hu_2mm.nii.gz", domain="ct", case_id="t").notes == ()
    atlas = read_nifti(real_data / "ct-template/ct_brain_atlas_1mm.nii.gz", domain="ct", case_id="a")
    assert any("skull-stripped" in note for note in atlas.notes)
    for patient in ("patient07", "patient19"):
        with pytest.raises(CaseError, match="not HU"):
            read_nifti(real_data / f"mr-ms-flair/{patient}_flair.nii.gz", domain="ct", case_id="m")


@pytest.mark.parametrize("air", [0.0, 0.004, 0.3])
@pytest.mark.parametrize("spread", [10.0, 45.0, 200.0])
def test_narrow_is_what_percentiles_say(air: float, spread: float, rng: np.random.Generator) -> None:
    values = rng.uniform(0, spread, 20_000).astype(np.float32)
    values[rng.random(20_000) < air] = -1000
    low, high = np.percentile(values, (0.1, 99.9))
    assert _is_narrow(Histogram.of(values)) == (high - low < NARROW_HU)


@pytest.mark.parametrize("whole", [True, False])
def test_a_histogram_says_what_numpy_says(whole: bool, rng: np.random.Generator) -> None:
    values = rng.choice([-1000.0, 30.0, 700.0], 5001).astype(np.float32) + rng.normal(0, 8, 5001).astype(np.float32)
    values = np.rint(values) if whole else values
    found = Histogram.of(values)
    assert found.share(-1000, 40) == np.mean((values >= -1000) & (values < 40))
    for above, below in ((-np.inf, -300), (-1200, 0), (29, 30.5), (-1000, 700)):
        inside = values[(values > above) & (values < below)]
        assert found.median(above, below) == (float(np.median(inside)) if len(inside) else None)
    assert found.percentiles(0.1, 50, 99.9) == tuple(np.percentile(values, (0.1, 50, 99.9)))
    counts, edges = np.histogram(values, bins=100, range=(-200, 200))
    best = int(np.argmax(np.convolve(counts, np.ones(3), mode="same")))
    assert found.peak(-200, 200) == (edges[best] + edges[best + 1]) / 2
    assert found.median(5000, 6000) is None


def test_values_that_are_not_finite_are_no_voxels() -> None:
    found = Histogram.of(np.array([np.nan, np.inf, -np.inf, 30, 31, 3e38], dtype=np.float32))
    assert (found.values.tolist(), found.counts.tolist()) == ([30, 31], [1, 1])


@pytest.mark.parametrize("offset", [14, -16, 24, -24, 60])
def test_all_hu_off_by_a_constant_are_said(head_hu: np.ndarray, offset: int) -> None:
    noisy = check_hu(volume_of(np.maximum(head_hu + offset, -1100)))
    assert any("air peaks at" in note for note in noisy.notes)
    flat = np.where(head_hu < -800, -1000, head_hu) + offset
    assert offset == -16 or check_hu(volume_of(np.maximum(flat, -1024))).notes
    assert check_hu(volume_of(np.where(head_hu < -800, -1000, head_hu))).notes == ()


@pytest.mark.parametrize("step", [4, 16])
def test_hu_in_coarse_steps_are_said(head_hu: np.ndarray, step: int) -> None:
    notes = check_hu(volume_of(np.round(head_hu / step) * step)).notes
    assert any(f"HU come in steps of {step}" in note for note in notes)
    assert check_hu(volume_of(np.round(head_hu / 2) * 2)).notes == ()


@pytest.mark.parametrize("step", [5, 10])
@pytest.mark.parametrize("padding", [None, -2000, 0])
def test_a_brain_in_coarse_steps_is_no_background(head_hu: np.ndarray, step: int, padding: int | None) -> None:
    hu = np.round(head_hu / step) * step
    if padding is not None:
        hu[:, :8] = padding
    tissue = Histogram.of(hu.ravel().astype(np.float32)).peak(-200, 200)
    assert tissue == pytest.approx(33, abs=step)
    assert not any("soft tissue" in note for note in check_hu(volume_of(hu)).notes)
