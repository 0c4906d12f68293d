from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from ctseg.inference.recovery_curve import LEAST, fit_curve

EXPECTED = np.linspace(0.3, 0.97, 17)


def test_a_model_that_is_too_sure_is_read_as_its_known_haematomas_came_back() -> None:
    curve = fit_curve(EXPECTED.tolist(), expit(-1.5 + 1.2 * logit(EXPECTED)).tolist())
    assert curve is not None
    for expected in (0.6, 0.8, 0.95, 0.99):
        assert curve.at(expected) == pytest.approx(expit(-1.5 + 1.2 * logit(expected)), abs=0.03)
        assert curve.at(expected) < expected


def test_a_model_that_knows_itself_is_believed() -> None:
    curve = fit_curve(EXPECTED.tolist(), EXPECTED.tolist())
    assert curve is not None
    assert [curve.at(value) for value in (0.2, 0.5, 0.9)] == pytest.approx([0.2, 0.5, 0.9], abs=0.01)


def test_more_of_the_model_never_means_less() -> None:
    backwards = fit_curve(EXPECTED.tolist(), EXPECTED[::-1].tolist())
    assert backwards is not None
    assert backwards.slope == 0
    assert backwards.at(0.4) == backwards.at(0.9) == pytest.approx(EXPECTED.mean(), abs=0.02)


def test_the_ends_have_a_number_and_all_lost_is_near_nothing() -> None:
    lost = fit_curve([0.0, 0.5, 0.8, 0.9, 0.95, 1.0], [0.0] * 6)
    assert lost is not None
    assert 0 <= lost.at(0.0) <= lost.at(0.8) < 0.15
    assert lost.at(1.0) <= 1
    assert all(np.isfinite([lost.offset, lost.slope]))


def test_what_was_learnt_of_small_ones_holds_for_large_ones_whose_errors_lie_along_the_rim() -> None:
    radii = np.array([4.0, 5, 6, 8, 10, 12, 14, 16])
    curve = fit_curve((1 - 0.6 / radii).tolist(), (1 - 1.8 / radii).tolist())
    assert curve is not None
    assert curve.at(1 - 0.6 / 28) == pytest.approx(1 - 1.8 / 28, abs=0.04)


def test_a_weight_is_so_many_haematomas() -> None:
    expected, dices = [0.6, 0.7, 0.8, 0.9, 0.95, 0.97], [0.1, 0.5, 0.5, 0.8, 0.9, 0.9]
    twice = fit_curve([*expected, 0.6], [*dices, 0.1])
    heavy = fit_curve(expected, dices, [2.0, 1, 1, 1, 1, 1])
    assert twice is not None
    assert heavy is not None
    assert (heavy.offset, heavy.slope) == pytest.approx((twice.offset, twice.slope), abs=1e-3)


def test_too_few_give_no_curve() -> None:
    few = [0.9] * (LEAST - 1)
    assert fit_curve(few, few) is None
    assert fit_curve([*few, 0.8], [*few, 0.8]) is not None
