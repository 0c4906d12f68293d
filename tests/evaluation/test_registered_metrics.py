"""A metric that is registered reaches cases.csv, summary.json and the report by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from pydantic import Field
from toy_metrics import width_mm

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.errors import PluginError
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.registry import BY_VOLUME, TOTAL, Average, Metric, Ratio
from ctseg.plugins.hookspecs import CONTRACT, hookimpl
from ctseg.plugins.host import load
from ctseg.settings import Settings

FAST = EvaluationSettings(resamples=200, permutations=200, pictured_cases=0)


def fails(pair):
    raise ValueError("no width")


TOY = Metric(
    "ref_width_mm",
    "Width of the reference",
    width_mm,
    "columns that the reference fills, in mm",
    unit="mm",
    undefined=("both", "reference"),
    reference="this test",
    summaries=(BY_VOLUME, Average("everywhere", "all", "over all cases", ("median",)), TOTAL,
               Ratio("pooled", "per mL", {"ref_width_mm": 1}, {"ref_ml": 1})),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_one_entry_reaches_all_three_outputs(cohort, workers):
    found = evaluate(
        cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, metrics=(*METRICS, TOY), workers=workers
    )
    table = pd.read_csv(cohort / "out" / "cases.csv").set_index("case")
    assert table["ref_width_mm"].dropna().to_dict() == {"a_1": 4.0, "a_2": 4.0, "b_1": 4.0}
    summary = json.loads((cohort / "out" / "summary.json").read_text())
    assert summary == found.summary
    model = summary["models"][0]
    assert model["by_volume"]["ref_width_mm"]["mean"]["value"] == 4.0
    assert model["everywhere"]["ref_width_mm"]["undefined"] == 1
    (described,) = [metric for metric in summary["metrics"] if metric["name"] == "ref_width_mm"]
    assert (described["unit"], described["range"], described["reference"]) == ("mm", [0.0, None], "this test")
    page = (cohort / "out" / "report.html").read_text()
    for text in (
        "Width of the reference (mm) by volume, mean", "Width of the reference (mm) over all cases, median",
        "columns that the reference fills, in mm", ">ref_width_mm<",
    ):  # fmt: skip
        assert text in page, text


@pytest.mark.slow
def test_built_in_metrics_are_measured_whatever_is_given(cohort):
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, metrics=(TOY,))
    assert {"dice", "ref_width_mm"} <= set(found.cases.columns)


def test_a_metric_that_raises_fails_the_case_and_is_named(cohort):
    broken = Metric("broken", "Broken", fails, "raises")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, metrics=(broken,))
    assert len(found.failed) == 4
    assert "metric 'broken': ValueError: no width" in found.failed[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "patient"}, "metric 'patient': is a column of cases.csv already"),
        ({"summaries": (Average("lesions", "all", ""),)}, "section 'lesions' of summary.json is taken"),
    ],
)
def test_a_metric_overwrites_nothing_else(cohort, changes, message):
    with pytest.raises(PluginError, match=message):
        evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, metrics=(replace(TOY, **changes),))
    assert not (cohort / "out").exists()


@pytest.mark.slow
def test_sections_hold_each_built_in_summary(cohort):
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    model = found.summary["models"][0]
    for metric in METRICS:
        for summary in metric.summaries:
            assert metric.name in model[summary.section], (metric.name, summary.section)
    assert model["total"]["negative_slices"] == found.cases["negative_slices"].sum()
    assert model["negative_cases"]["fp_ml"]["mean"]["value"] == 0
    assert model["per_100_negative_slices"]["negative_slices_fp_ml"]["value"] == 0
    assert model["per_slice"]["dice_per_slice_released"]["value"] == pytest.approx(
        (found.cases["dice_per_slice_released"] * found.cases["slices"]).sum() / found.cases["slices"].sum()
    )


class WidthSettings(Settings):
    factor: float = Field(1.0, description="the width is multiplied by it", gt=0)


def scaled_width_mm(pair, factor):
    return factor * width_mm(pair)


@pytest.fixture
def installed(monkeypatch):
    """A plugin whose metric has a setting, as the command line finds it."""
    module = ModuleType("widths")
    module.CTSEG_CONTRACT = CONTRACT
    module.ctseg_register_metrics = hookimpl(
        lambda register: register(
            "ref_width_mm",
            lambda factor: replace(TOY, measure=partial(scaled_width_mm, factor=factor)),
            settings=WidthSettings,
        )
    )
    point = SimpleNamespace(load=lambda: module, name="widths")
    monkeypatch.setattr(
        common.STATE, "registry", load(found=[(point, SimpleNamespace(name="ctseg-widths", version="1.0"))])
    )


def command(cohort, *more):
    fast = ["--set", "resamples=100", "--set", "permutations=100", "--set", "pictured_cases=0"]
    folders = ["--pred", str(cohort / "pred"), "--ref", str(cohort / "ref"), "-o", str(cohort / "out")]
    return ["-q", "evaluate", *folders, *fast, *more]


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_the_command_measures_what_plugins_register_with_their_settings(cohort):
    assert main(command(cohort, "--set", "metric_settings.ref_width_mm.factor=2")) == 0
    table = pd.read_csv(cohort / "out" / "cases.csv").set_index("case")
    assert table.loc["a_1", ["dice", "ref_width_mm"]].tolist() == [1.0, 8.0]
    settings = json.loads((cohort / "out" / "summary.json").read_text())["settings"]
    assert settings["metric_settings"] == {"ref_width_mm": {"factor": 2}}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("metric_settings.ref_with_mm.factor=2", "unknown metric 'ref_with_mm' (did you mean 'ref_width_mm'?)"),
        ("metric_settings.ref_width_mm.facter=2", "metric ref_width_mm: unknown setting 'facter'"),
        ("metric_settings.dice.smooth=1", "metric dice: unknown setting 'smooth'"),
    ],
)
def test_unknown_metrics_and_settings_are_one_line_and_leave_nothing(cohort, capsys, setting, message):
    assert main(command(cohort, "--set", setting)) == 2
    assert message in capsys.readouterr().err
    assert not (cohort / "out").exists()


GONE = "the evaluation here needs metric 'ref_width_mm' of ctseg-widths 1.0; install it: pip install ctseg-widths==1.0"


@pytest.mark.usefixtures("installed")
def test_a_new_evaluation_says_which_metric_it_lacks(cohort, monkeypatch, capsys):
    assert main(command(cohort)) == 0
    summary = json.loads((cohort / "out" / "summary.json").read_text())
    assert [item["made_by"] for item in summary["metrics"] if "made_by" in item] == ["ctseg-widths 1.0"]
    before = (cohort / "out" / "summary.json").read_bytes()
    monkeypatch.setattr(common.STATE, "registry", load(found=[]))
    assert main(command(cohort, "--overwrite", "--set", "metric_settings.ref_width_mm.factor=2")) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"ctseg: error: {cohort / 'out'}: {GONE}"
    assert (cohort / "out" / "summary.json").read_bytes() == before
    assert main(command(cohort, "--overwrite")[1:]) == 0
    assert f"warning: {cohort / 'out'}: {GONE}; a new one is without it" in capsys.readouterr().err.splitlines()
