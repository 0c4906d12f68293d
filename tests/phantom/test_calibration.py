"""The bleeds of a cohort, measured on its DICOM files as those of BHSD were measured."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ctseg.phantom.bleed_statistics import draw_parts
from ctseg.phantom.bleeds import KINDS
from ctseg.phantom.calibration import MIX, SHOWN, draw, measure_cohort, quantiles, table, wanted
from ctseg.phantom.cohort import orders
from ctseg.phantom.ct_contrast import draw_calibration
from ctseg.phantom.rsna import CtCase

pytestmark = pytest.mark.phantom

QUICK = 12
FULL = {"patients": 144, "matrix": 256, "seed": 2, "workers": 2}
"""The cohort of `docs/phantom.md`."""
MIDDLE = (0.25, 0.5, 0.75)


@pytest.fixture(scope="module")
def cohort():
    return measure_cohort(QUICK, matrix=256, workers=2)


def _drawn(kind: str) -> list:
    """Every part of a kind that the patients of the cohort were drawn to have."""
    parts = []
    for index in range(QUICK):
        case = CtCase(index, "stage_2_train", MIX[index % len(MIX)], 256, 5.0, (0, 4, index), orders(MIX, index))
        rng = np.random.default_rng(np.random.SeedSequence(case.seed).spawn(4)[2])
        if kind in case.findings.kinds:
            parts += draw_parts(kind, case.turns()[kind], draw_calibration(rng))
    return parts


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_scan_measures_is_what_was_drawn(cohort, kind):
    """Partial volume, artefacts and noise included; that draws follow BHSD is tested beside the draws."""
    parts = _drawn(kind)
    rows = [row for patient in cohort for row in patient.rows if row[0] == kind]
    assert len(rows) == pytest.approx(len(parts), rel=0.15, abs=1)
    hu, ml = (np.quantile([row[n] for row in rows], MIDDLE) for n in (2, 1))
    assert hu == pytest.approx(np.quantile([part.hu for part in parts], MIDDLE), abs=2)
    assert ml[1] == pytest.approx(np.median([part.ml for part in parts]), rel=0.25, abs=0.1)
    assert sum(row[1] for row in rows) == pytest.approx(sum(part.ml for part in parts), rel=0.2)


def test_brains_differ_between_patients_as_scans_do(cohort):
    brains = [patient.brain_hu for patient in cohort]
    assert 20 < min(brains) < 30
    assert 32 < max(brains) < 43


def test_bleeds_stand_out_little(cohort):
    """Half of real IPH lies within 11 HU of grey matter, so within about 15 HU of the brain around it."""
    contrast = [value for patient in cohort for value in patient.contrast_hu]
    assert 8 < np.nanmedian(contrast) < 20
    assert np.nanmin(contrast) < 8


def test_the_report_names_every_kind_and_is_drawn(cohort, tmp_path):
    lines = table(cohort).splitlines()
    assert len(lines) == 2 + 3 * len(KINDS)
    draw(cohort, tmp_path / "bleeds.png")
    assert (tmp_path / "bleeds.png").read_bytes().startswith(b"\x89PNG")


NOT_WITHIN = {
    ("subdural", "ml", 50),
    ("epidural", "ml", 25),
    ("epidural", "ml", 95),
    ("subarachnoid", "parts", 95),
    ("subdural", "parts", 95),
}
"""Quantiles of the cohort of `docs/phantom.md` that are not within 20 % or 0.1 mL, or one part: those of SDH and EDH
rest on 104 and 60 parts, their largest 5 % on three to five."""


def outside(kind: str, have: dict, want: dict) -> set[tuple[str, str, int]]:
    """The quantiles that are not within 2 HU, 20 % or 0.1 mL, and one part."""
    within = {
        "hu": np.abs(np.subtract(have["hu"], want["hu"])) <= 2,
        "ml": np.abs(np.subtract(have["ml"], want["ml"])) <= np.maximum(0.1, 0.2 * np.array(want["ml"])),
        "parts": np.abs(np.subtract(have["parts"], want["parts"])) <= 1,
    }
    return {(kind, what, round(100 * SHOWN[place])) for what, each in within.items() for place in np.flatnonzero(~each)}


def test_the_page_shows_which_quantiles_are_not_within():
    """The table of `docs/phantom.md`, as it is written, misses where the page and `NOT_WITHIN` say, nowhere else."""
    page = Path(__file__, "../../../docs/phantom.md").resolve().read_text(encoding="utf-8")
    names = {"IPH": "intraparenchymal", "IVH": "intraventricular", "SAH": "subarachnoid", "SDH": "subdural"}
    names["EDH"] = "epidural"
    found: dict[str, tuple[dict, dict]] = {kind: ({}, {}) for kind in KINDS}
    for name, what, want, have in re.findall(r"^\| (...) \(\d+\) \| (hu|ml|parts) \| (.+?) \| (.+?) \|$", page, re.M):
        for side, text in zip(found[names[name]], (have, want), strict=True):
            side[what] = [float(number) for number in text.split(" / ")]
    missed = set().union(*(outside(kind, *sides) for kind, sides in found.items()))
    assert missed == NOT_WITHIN


@pytest.mark.slow
def test_every_quantile_of_a_large_cohort():
    cohort = measure_cohort(**FULL)
    missed = set().union(*(outside(kind, quantiles(cohort, kind), wanted(kind)) for kind in KINDS))
    assert missed <= NOT_WITHIN, table(cohort)
    for kind in KINDS:  # those that are not within are near
        have, want = quantiles(cohort, kind), wanted(kind)
        assert have["ml"] == pytest.approx(want["ml"], rel=0.3, abs=0.25), table(cohort)
        assert have["parts"] == pytest.approx(want["parts"], rel=0.15, abs=1), table(cohort)
