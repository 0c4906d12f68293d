from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from ctseg.phantom.icbm152 import FIRST_MM, SHAPE, template_maps

SUMS = [1008199.186, 670333.962, 1882989.0]
MIDDLE_MM = [0.0, -21.997, 9.545]


@pytest.mark.slow
def test_the_maps_are_the_templates() -> None:
    """Sums and places of the maps that nilearn 0.14.1 gives, which were compared value by value."""
    maps = template_maps()
    for values in (maps.grey, maps.white, maps.brain):
        assert (values.shape, values.dtype) == (SHAPE, np.float32)
        assert (values.min(), values.max()) == (0, 1)
    assert [round(float(part.sum(dtype=np.float64)), 3) for part in (maps.grey, maps.white, maps.brain)] == SUMS
    assert (maps.grey + maps.white <= 1).all()
    middle = np.argwhere(maps.brain > 0).mean(axis=0) + FIRST_MM
    np.testing.assert_allclose(middle, MIDDLE_MM, atol=0.001)


def test_the_licence_comes_with_them() -> None:
    text = files("ctseg.phantom").joinpath("icbm152-licence.txt").read_text(encoding="utf-8")
    assert "Permission to use, copy, modify, and distribute" in text
