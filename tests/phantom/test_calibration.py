"""The bleeds of a cohort, measured on its DICOM files as those of BHSD were measured."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from ctseg.phantom.bleed_statistics import draw_parts
from ctseg.phantom.bleeds import KINDS
from ctseg.phantom.calibration import (
    MIX,
    SHOWN,
    Measured,
    draw,
    measure_cohort,
    measure_patient,
    quantiles,
    table,
    text_of,
    wanted,
)
from ctseg.phantom.cohort import orders
from ctseg.phantom.ct_contrast import draw_calibration
from ctseg.phantom.rsna import CtCase

pytestmark = pytest.mark.phantom

QUICK = 12
PATIENTS, COHORT = 144, {"matrix": 256, "step_mm": 5.0, "seed": 2}
"""The cohort of `docs/phantom.md`."""
ROWS = Path(__file__).with_name("bleeds_of_144_patients.csv")
PAGE = Path(__file__).parents[2] / "docs/phantom.md"
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
    assert len(text_of(cohort).splitlines()) == 1 + sum(len(patient.rows) for patient in cohort)


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
    page = PAGE.read_text(encoding="utf-8")
    names = {"IPH": "intraparenchymal", "IVH": "intraventricular", "SAH": "subarachnoid", "SDH": "subdural"}
    names["EDH"] = "epidural"
    found: dict[str, tuple[dict, dict]] = {kind: ({}, {}) for kind in KINDS}
    for name, what, want, have in re.findall(r"^\| (...) \(\d+\) \| (hu|ml|parts) \| (.+?) \| (.+?) \|$", page, re.M):
        for side, text in zip(found[names[name]], (have, want), strict=True):
            side[what] = [float(number) for number in text.split(" / ")]
    missed = set().union(*(outside(kind, *sides) for kind, sides in found.items()))
    assert missed == NOT_WITHIN


@pytest.fixture(scope="module")
def page_cohort() -> list[Measured]:
    """The cohort of `docs/phantom.md`, as `ctseg.phantom.calibration --rows` has written it."""
    parts: dict[int, list[dict[str, str]]] = {}
    with ROWS.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            parts.setdefault(int(row["patient"]), []).append(row)
    assert set(parts) == set(range(PATIENTS))
    return [
        Measured(
            tuple((row["kind"], float(row["ml"]), float(row["hu"])) for row in rows),
            float(rows[0]["brain_hu"]),
            tuple(float(row["contrast_hu"]) for row in rows if row["contrast_hu"]),
        )
        for _, rows in sorted(parts.items())
    ]


def test_every_quantile_of_a_large_cohort(page_cohort):
    missed = set().union(*(outside(kind, quantiles(page_cohort, kind), wanted(kind)) for kind in KINDS))
    assert missed == NOT_WITHIN
    for kind in KINDS:  # those that are not within are near
        have, want = quantiles(page_cohort, kind), wanted(kind)
        assert have["ml"] == pytest.approx(want["ml"], rel=0.3, abs=0.25)
        assert have["parts"] == pytest.approx(want["parts"], rel=0.15, abs=1)


def test_the_page_has_the_table_of_its_cohort(page_cohort):
    assert table(page_cohort) in PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_phantom_still_makes_that_cohort(page_cohort):
    """Every seventh patient, so that each combination of findings is among them.

    Rounding differs between processors: one patient may have a part more or less, and parts may differ a little.
    """
    other = []
    for index in range(0, PATIENTS, 7):
        made, stored = measure_patient(index, **COHORT), page_cohort[index]
        assert made.brain_hu == pytest.approx(stored.brain_hu, abs=1)
        kinds, sizes = [row[0] for row in made.rows], np.array([row[1:] for row in made.rows])
        same = kinds == [row[0] for row in stored.rows]
        if not same or not np.allclose(sizes, [row[1:] for row in stored.rows], rtol=0.02, atol=0.02):
            other.append(index)
    assert len(other) <= 1, f"other bleeds in patients {other}: make {ROWS.name}, table and picture of the page again"
