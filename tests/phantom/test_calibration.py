"""The bleeds of a cohort, measured on its DICOM files as those of BHSD were measured."""

from __future__ import annotations

import numpy as np
import pytest

from ctseg.phantom.bleeds import KINDS
from ctseg.phantom.calibration import measure_cohort, quantiles, table, wanted

pytestmark = pytest.mark.phantom

QUICK = {"patients": 24, "matrix": 256, "workers": 2}
"""30 s on two cores."""
FULL = {"patients": 96, "matrix": 512, "workers": 2}
"""The cohort of `docs/phantom.md`."""


@pytest.fixture(scope="module")
def cohort():
    return measure_cohort(**QUICK)


@pytest.mark.parametrize("kind", KINDS)
def test_bleeds_measure_like_those_of_patients(cohort, kind):
    """The middle half; tails need more patients, see the slow test."""
    have, want = quantiles(cohort, kind), wanted(kind)
    few = 4.0 if kind == "epidural" else 3.0  # 10 patients with an EDH, whose quartiles are 11 HU apart
    assert have["hu"][1:4] == pytest.approx(want["hu"][1:4], abs=few), table(cohort)
    assert np.abs(np.log(have["ml"][2] / want["ml"][2])) < np.log(2), table(cohort)
    assert have["parts"][1:4] == pytest.approx(want["parts"][1:4], abs=2), table(cohort)


def test_brains_differ_between_patients_as_scans_do(cohort):
    brains = [patient.brain_hu for patient in cohort]
    assert min(brains) < 28
    assert max(brains) > 34
    assert 22 < min(brains) < max(brains) < 40


def test_half_of_the_bleeds_stand_out_little(cohort):
    """Half of real IPH lies within 11 HU of grey matter, so within about 15 HU of the brain around it."""
    contrast = np.array([value for patient in cohort for value in patient.contrast_hu])
    assert 9 < np.nanmedian(contrast) < 19
    assert np.nanquantile(contrast, 0.1) < 8


@pytest.mark.slow
def test_every_quantile_of_a_large_cohort():
    cohort = measure_cohort(**FULL)
    for kind in KINDS:
        have, want = quantiles(cohort, kind), wanted(kind)
        assert have["hu"] == pytest.approx(want["hu"], abs=2), table(cohort)
        assert have["ml"] == pytest.approx(want["ml"], rel=0.2, abs=0.1), table(cohort)
        assert have["parts"] == pytest.approx(want["parts"], abs=1), table(cohort)
