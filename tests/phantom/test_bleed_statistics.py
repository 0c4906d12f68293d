from __future__ import annotations

import csv

import numpy as np
import pytest

from ctseg.phantom.bhsd import BHSD, LEVELS
from ctseg.phantom.bleed_statistics import Turn, draw_parts, quantile

pytestmark = pytest.mark.phantom

NAMES = {
    "IPH": "intraparenchymal",
    "IVH": "intraventricular",
    "SAH": "subarachnoid",
    "SDH": "subdural",
    "EDH": "epidural",
}
SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)


def _draw(kind: str, count: int, **more):
    return [draw_parts(kind, Turn(n, (0.13, 0.57, 0.81), **more)) for n in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_embedded_quantiles_are_those_of_the_table(name, real_data):
    rows = list(csv.DictReader((real_data / "bleed-statistics/bhsd.csv").open()))
    rows = [row for row in rows if row["Type"] == name and float(row["Mean_HU"]) > 5]
    table = BHSD[NAMES[name]]
    hu, ml = ([float(row[column]) for row in rows] for column in ("Mean_HU", "Volume_[mL]"))
    assert table.hu == pytest.approx(np.quantile(hu, LEVELS), abs=0.06)
    assert table.ml == pytest.approx(np.quantile(ml, LEVELS), abs=0.001)
    parts: dict[str, int] = {}
    for row in rows:
        parts[row["Data_ID"]] = parts.get(row["Data_ID"], 0) + 1
    assert np.mean(table.parts) == pytest.approx(np.mean(list(parts.values())), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BHSD)
def test_draws_follow_the_quantiles(kind):
    parts = [part for patient in _draw(kind, 150) for part in patient]
    table = BHSD[kind]
    assert np.quantile([p.hu for p in parts], SHOWN) == pytest.approx([quantile(table.hu, s) for s in SHOWN], abs=1.5)
    ml = np.quantile([p.ml for p in parts], SHOWN[:4])
    assert ml == pytest.approx([quantile(table.ml, s, log=True) for s in SHOWN[:4]], rel=0.2, abs=0.1)
    counts = np.quantile([len(patient) for patient in _draw(kind, 150)], SHOWN)
    assert counts == pytest.approx([table.parts_at(share) for share in SHOWN], abs=1)


def test_a_few_patients_already_cover_the_distribution():
    hu = [part.hu for patient in _draw("intraparenchymal", 24) for part in patient]
    assert np.median(hu) == pytest.approx(quantile(BHSD["intraparenchymal"].hu, 0.5), abs=2)


def test_large_bleeds_are_brighter():
    parts = [part for patient in _draw("intraparenchymal", 80) for part in patient]
    large, small = ([p.hu for p in parts if (p.ml > 5) is flag] for flag in (True, False))
    assert np.median(large) > np.median(small) + 3


def test_severe_patients_have_larger_bleeds_with_more_parts():
    usual, severe = _draw("intraparenchymal", 60), _draw("intraparenchymal", 60, severe=True)
    assert min(patient[0].ml for patient in severe) > np.median([patient[0].ml for patient in usual])
    assert np.mean([len(p) for p in severe]) > np.mean([len(p) for p in usual]) + 1


def test_quantile_inverts_its_columns():
    table = BHSD["subdural"].ml
    assert [quantile(table, share, log=True) for share in LEVELS] == pytest.approx(table)
    assert quantile(table, 0.0) == table[0]
    assert quantile(table, 1.0) == table[-1]
