"""What made the masks is read from beside them, shown in the report, and never trusted."""

from __future__ import annotations

import json

import pytest

from ctseg.evaluation.cases import match_cases
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.made_by import MAX_LETTERS, made_by
from ctseg.evaluation.settings import EvaluationSettings

FAST = EvaluationSettings(resamples=200, permutations=200, pictured_cases=0)
MODEL = {
    "model": "default", "owner": "ctseg 0.1.0", "segmenter": "unet", "package": "ctseg 0.1.0",
    "weights": "0123456789ab", "trained_by": "ctseg 0.1.0",
}  # fmt: skip


@pytest.mark.slow
def test_the_report_names_the_models(cohort):
    (cohort / "pred" / "volumes.json").write_text(json.dumps({"models": [MODEL, MODEL]}))
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    assert found.summary["models"][0]["made_by"] == [MODEL]
    text = (cohort / "out" / "report.html").read_text()
    assert "What made the masks" in text
    assert "0123456789ab" in text
    (cohort / "pred" / "volumes.json").unlink()
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "plain", settings=FAST)
    assert found.summary["models"][0]["made_by"] == []
    assert "What made the masks" not in (cohort / "plain" / "report.html").read_text()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"models": 3}', '{"models": [3]}', '{"models": null}', "[" * 50_000, "\x00"]
)
def test_a_broken_file_decides_nothing(cohort, text):
    (cohort / "pred" / "volumes.json").write_text(text)
    assert made_by(match_cases([cohort / "pred"], cohort / "ref")) == {"pred": []}


def test_texts_are_short_lines(cohort):
    (cohort / "pred" / "volumes.json").write_text(
        json.dumps({"models": [{**MODEL, "model": "a\nb", "owner": "x" * 999, "segmenter": 3, "path": "/secret"}]})
    )
    [row] = made_by(match_cases([cohort / "pred"], cohort / "ref"))["pred"]
    assert row == {**MODEL, "model": "", "owner": "x" * MAX_LETTERS, "segmenter": ""}
