from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ctseg.phantom.anatomy import make_subject
from ctseg.phantom.ct_series import Protocol, draw_protocol, plan_slices, slice_points, stored

pytestmark = pytest.mark.phantom

PLAIN = Protocol(
    tilt_deg=0.0,
    pixel_mm=4.0,
    step_mm=10.0,
    base_step_mm=10.0,
    signed=True,
    intercept=-1024,
    padded=False,
    wrapped=False,
    noise_hu=3.0,
    residual=0.4,
    kernel_lp_cm=3.6,
)


@pytest.fixture(scope="module")
def subject():
    return make_subject(np.random.default_rng(0))


@pytest.mark.slow
def test_slices_run_upwards_through_the_whole_head(subject):
    geometry = plan_slices(subject, PLAIN, 64)
    assert np.diff(geometry.origins[:, 2]) == pytest.approx(np.full(len(geometry.origins) - 1, 10.0))
    template = subject.to_template(np.concatenate([slice_points(geometry, k)[1:2] for k in (0, -1)]))
    assert -85 < template[0, 16, 16, 2] < -45
    assert 60 < template[1, 16, 16, 2] < 110


def test_columns_run_to_the_left_and_rows_to_the_back(subject):
    points = slice_points(plan_slices(subject, PLAIN, 64), 0)
    assert points.shape[1:] == (32, 32, 3)
    assert points[0, 0, 1, 0] < points[0, 0, 0, 0]
    assert points[0, 1, 0, 1] < points[0, 0, 0, 1]


def test_half_matrix_points_are_the_middles_of_four_pixels(subject):
    geometry = plan_slices(subject, PLAIN, 64)
    middle = slice_points(geometry, 2).mean(axis=0)[0, 0]
    offsets = [4.0 * (r * geometry.down + c * geometry.right_to_left) for r in (0, 1) for c in (0, 1)]
    assert middle == pytest.approx(geometry.origins[2] + np.mean(offsets, axis=0), abs=1e-3)


def test_tilted_slices_are_sheared_not_turned(subject):
    """The table moves along z while the planes lean: origins differ in z only, by cos(tilt) less along the normal."""
    geometry = plan_slices(subject, replace(PLAIN, tilt_deg=20.0), 64)
    steps = np.diff(geometry.origins, axis=0)
    assert steps[:, :2] == pytest.approx(0, abs=1e-9)
    assert steps @ geometry.normal == pytest.approx(10.0 * np.cos(np.radians(20)), abs=1e-6)
    assert geometry.down == pytest.approx([0, -np.cos(np.radians(20)), -np.sin(np.radians(20))])


def test_uneven_series_has_thin_slices_below_and_thick_ones_above_without_gaps(subject):
    geometry = plan_slices(subject, replace(PLAIN, base_step_mm=5.0), 64)
    steps = np.diff(geometry.origins[:, 2])
    assert sorted(set(np.round(steps, 3))) == [5.0, 7.5, 10.0]
    assert (np.diff(geometry.thickness) >= 0).all()
    touching = (geometry.thickness[1:] + geometry.thickness[:-1]) / 2
    assert steps == pytest.approx(touching)


@pytest.mark.parametrize(("signed", "intercept"), [(True, -1024), (False, -1024), (True, 0)])
def test_stored_values_give_the_hu_back(signed, intercept):
    hu = np.float32([[[-1000, -3.4, 0, 40.6], [70, 1200, 3071, -1024]]])
    values, header = stored(hu, replace(PLAIN, signed=signed, intercept=intercept))
    assert values.dtype == (np.int16 if signed else np.uint16)
    assert header["PixelRepresentation"] == int(signed)
    assert (values.astype(int) + header["RescaleIntercept"]).tolist() == np.rint(hu).astype(int).tolist()


def test_padding_lies_outside_the_circle_only():
    values, _ = stored(np.full((1, 64, 64), 30.0, dtype=np.float32), replace(PLAIN, padded=True))
    assert values[0, 0, 0] == -2000
    assert values[0, 32, 1] == 30 + 1024
    assert 0.18 < (values == -2000).mean() < 0.25


def test_wrapped_values_come_back_by_the_mend_that_rsna_readers_use():
    """The published mend: add 1000, take 4096 off what is 4096 or more, intercept -1000."""
    hu = np.float32([[[-1000, -200, 0, 45, 900, 2500]]])
    values, header = stored(hu, replace(PLAIN, wrapped=True))
    assert (header["BitsStored"], header["PixelRepresentation"], header["RescaleIntercept"]) == (12, 0, 0)
    mended = values.astype(int) + 1000
    mended[mended >= 4096] -= 4096
    assert (mended - 1000).tolist() == hu.astype(int).tolist()


def test_a_dozen_series_show_every_kind_and_one_fault():
    kinds = [draw_protocol(np.random.default_rng(i), i, 5.0, 512) for i in range(12)]
    assert sum(kind.wrapped for kind in kinds) == 1
    assert {kind.signed for kind in kinds} == {True, False}
    assert {kind.intercept for kind in kinds} == {0, -1024}
    assert 3 <= sum(kind.tilt_deg > 0 for kind in kinds) <= 6
    assert any(kind.uneven for kind in kinds)
    assert any(kind.padded for kind in kinds)
    assert all(0.4 < kind.pixel_mm < 0.5 for kind in kinds)
