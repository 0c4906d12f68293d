from __future__ import annotations

import numpy as np
import pytest
import torch

from ctseg.phantom import ct_physics
from ctseg.phantom.ct_physics import beam_hardening, holder, kernel_noise, sharpen_twice, water_excess


def _disk(size, row, column, radius):
    y, x = np.mgrid[:size, :size]
    return (y - row) ** 2 + (x - column) ** 2 < radius**2


def test_water_alone_has_no_error_left():
    assert np.abs(water_excess(np.linspace(0, 40, 50), np.zeros(50))).max() < 0.02


def test_bone_hardens_the_beam():
    """Behind much bone the rest of the beam is hard, so each further gram attenuates less than the first did."""
    error = water_excess(np.full(5, 12.0), np.array([0.0, 2.0, 5.0, 10.0, 20.0]))
    assert error[0] == pytest.approx(0, abs=0.02)
    assert (np.diff(error) < 0).all()


def test_a_dark_band_joins_two_petrous_bones():
    size = 64
    head = np.full((1, size, size), -1000.0, dtype=np.float32)
    head[0, _disk(size, 32, 32, 26)] = 30
    head[0, _disk(size, 32, 16, 5)] = 1500
    head[0, _disk(size, 32, 48, 5)] = 1500
    error, spread = beam_hardening(head, 3.0, 1.0)
    between, beside = error[0, 31:34, 29:36].mean(), error[0, 14:18, 29:36].mean()
    assert between < beside - 5
    assert spread.shape == head.shape
    assert spread[0, 32, 32] > spread[0, 32, 2]


def test_no_bone_no_artefact():
    head = np.full((1, 32, 32), -1000.0, dtype=np.float32)
    head[0, _disk(32, 16, 16, 12)] = 30
    assert np.abs(beam_hardening(head, 6.0, 1.0)[0]).max() < 3


def test_noise_has_unit_variance_and_the_spectrum_of_a_soft_kernel():
    noise = kernel_noise(np.random.default_rng(0), (3, 128, 128), 0.5)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    frequency = np.abs(np.fft.fftfreq(128, 0.05))  # line pairs a centimetre along one axis
    band = lambda low, high: power[0, (frequency >= low) & (frequency < high)].mean()  # noqa: E731
    assert band(2, 3) > 2 * band(0, 0.3)
    assert band(2, 3) > 20 * band(8, 10)


def test_doubling_keeps_planes_and_means():
    y, x = np.mgrid[:12, :10].astype(np.float32)
    doubled = sharpen_twice((3 * y - 2 * x)[None])
    assert doubled.shape == (1, 24, 20)
    row, column = np.mgrid[:24, :20]
    expected = 3 * ((row + 0.5) / 2 - 0.5) - 2 * ((column + 0.5) / 2 - 0.5)
    assert doubled[0, 4:-4, 4:-4] == pytest.approx(expected[4:-4, 4:-4], abs=1e-4)


def test_holder_lies_behind_the_head_only():
    axis = np.arange(-120, 120, 1.0, dtype=np.float32)
    arcs = holder(axis[None, :], axis[:, None], 90.0, 110.0, 300.0)
    assert arcs.max() == pytest.approx(300, abs=1)
    assert (arcs[axis < -16] == -1000).all()
    assert (arcs[:, np.abs(axis) < 40][(axis > -15) & (axis < 100)] == -1000).all()


def _head(rng, size=48):
    """A head in air in a few slices, with a table behind it."""
    head = np.full((3, size, size), -1000.0, dtype=np.float32)
    inside = _disk(size, size // 2 - 4, size // 2 + 3, size // 3)
    head[:, inside] = 200 * rng.standard_normal((3, int(inside.sum())), dtype=np.float32)
    head[:, size - 4 : size - 2, 6:-9] = 150
    return head


def test_what_lies_in_the_air_is_left_out_of_projections_to_the_last_bit(rng):
    images = torch.from_numpy(np.maximum(_head(rng) + 1000, 0))
    outline = ct_physics._outline(images.numpy())
    for angle in np.linspace(0, np.pi, 23, endpoint=False):
        grid = ct_physics._turned(float(angle), len(images), images.shape[-1])
        whole = torch.nn.functional.grid_sample(images[None], grid, align_corners=False)[0].sum(1).numpy()
        assert ct_physics._project(images, float(angle), outline).tobytes() == whole.tobytes()
        rows, columns = ct_physics._turned_box(outline, float(angle), images.shape[-1])
        assert (rows.stop - rows.start) * (columns.stop - columns.start) < images.shape[-1] ** 2
    nothing = torch.zeros_like(images)
    assert not ct_physics._project(nothing, 0.3, ct_physics._outline(nothing.numpy())).any()


def test_smearing_by_rows_gives_the_bits_of_smearing_each_slice(rng):
    profiles = rng.standard_normal((5, 37), dtype=np.float32)
    back = ct_physics._BackProjection(5, 37, np.dtype(np.float32))
    expected = np.zeros((5, 37, 37), np.float32)
    axis = np.arange(37, dtype=np.float32) - 18
    for angle in (0.0, 0.4, 1.3, 2.9):
        back.add(profiles, angle)
        place = axis[None, :] * np.cos(angle) + axis[:, None] * np.sin(angle) + 18
        low = np.clip(np.floor(place), 0, 35).astype(np.intp)
        share = np.clip(place - low, 0, 1).astype(np.float32)
        expected += profiles[:, low] * (1 - share) + profiles[:, low + 1] * share
    assert back.total().tobytes() == expected.tobytes()


@pytest.mark.parametrize("axis", [1, 2])
def test_doubling_slice_by_slice_gives_the_bits_of_doubling_the_stack(rng, axis):
    values = rng.standard_normal((3, 9, 14), dtype=np.float32)
    width = [(0, 0)] * 3
    width[axis] = (2, 2)
    padded = np.moveaxis(np.pad(values, width, mode="edge"), axis, -1)
    taps = [padded[..., k : k + values.shape[axis]] for k in range(5)]
    early = -0.0703125 * taps[3] + 0.2265625 * taps[1] + 0.8671875 * taps[2] - 0.0234375 * taps[0]
    late = -0.0703125 * taps[1] + 0.2265625 * taps[3] + 0.8671875 * taps[2] - 0.0234375 * taps[4]
    both = np.stack([early, late], axis=-1).reshape(*early.shape[:-1], -1)
    assert ct_physics._double(values, axis).tobytes() == np.ascontiguousarray(np.moveaxis(both, -1, axis)).tobytes()
