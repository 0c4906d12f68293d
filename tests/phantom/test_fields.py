from __future__ import annotations

import numpy as np
import pytest

from ctseg.phantom.fields import Field, _stretched, edge, f32, grid_points, noise, ramp


def test_field_returns_a_linear_function_exactly_between_its_voxels():
    points = grid_points((-10.0, 5.0, 0.0), 2.0, (7, 6, 5))
    values = 2 * points[..., 0] - 3 * points[..., 1] + 0.5 * points[..., 2] + 1
    field = Field.of(values[None], (-10.0, 5.0, 0.0), 2.0)
    probe = f32([[[[-7.3, 9.1, 3.7], [-10.0, 5.0, 0.0], [1.9, 14.9, 7.9]]]])
    expected = 2 * probe[..., 0] - 3 * probe[..., 1] + 0.5 * probe[..., 2] + 1
    assert field.at(probe)[0] == pytest.approx(expected, abs=1e-4)


def test_field_holds_its_border_value_outside():
    field = Field.of(np.arange(8).reshape(1, 2, 2, 2), (0.0, 0.0, 0.0), 1.0)
    assert field.at(f32([[[[-50, -50, -50], [50, 50, 50]]]])).ravel().tolist() == [0.0, 7.0]


def test_points_run_x_fastest():
    points = grid_points((1.0, 2.0, 3.0), 0.5, (4, 3, 2))
    assert points.shape == (2, 3, 4, 3)
    assert points[1, 2, 3].tolist() == [2.5, 3.0, 3.5]


def test_noise_is_smooth_unit_and_the_seeds():
    box = (-40.0, -40.0, -40.0), (40.0, 40.0, 40.0)
    field = noise(np.random.default_rng(3), 20.0, *box)
    again = noise(np.random.default_rng(3), 20.0, *box)
    points = grid_points((-40.0, -40.0, -40.0), 2.0, (40, 40, 40))
    values = field.at(points)[0]
    assert np.array_equal(values, again.at(points)[0])
    assert 0.5 < values.std() < 1.3
    neighbours = np.corrcoef(values[..., 1:].ravel(), values[..., :-1].ravel())[0, 1]
    far = np.corrcoef(values[..., 20:].ravel(), values[..., :-20].ravel())[0, 1]
    assert neighbours > 0.97
    assert abs(far) < 0.3


def test_edge_is_half_at_the_surface_and_ramp_falls_when_turned_round():
    assert edge(f32([-2, -0.5, 0, 0.25, 0.5, 2])).tolist() == [0, 0, 0.5, 0.75, 1, 1]
    assert ramp(f32([0, 1, 2, 3, 4]), 3, 1).tolist() == [1, 1, 0.5, 0, 0]


def test_points_are_stretched_row_by_row_to_the_last_bit(rng):
    points = rng.standard_normal((2, 5, 7, 3), dtype=np.float32)[:, ::2]
    scale, shift = f32([0.013, -1.7, 3.1]), f32([0.4, 1e-3, -9.0])
    assert _stretched(points, scale, shift).tobytes() == (points * scale + shift).tobytes()
