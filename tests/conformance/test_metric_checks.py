"""Each planted fault of a metric of `ctseg evaluate` is found by the check that is there for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from ctseg.conformance import Outcome, checks
from ctseg.conformance.catalogue import CATALOGUE
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.registry import BY_VOLUME, Average, Metric, Ratio, Total
from ctseg.plugins.host import load

BUILT_IN = load(found=[])
Run = Callable[..., Outcome]


def centre_distance(pair: Any) -> float:
    """Distance of the centres of gravity in mm."""
    if pair.pred_empty or pair.ref_empty:
        return float("nan")
    centres = [
        np.average(pair.grid.points_mm(mask), axis=0, weights=pair.grid.voxel_ml[np.nonzero(mask)[0]])
        for mask in (pair.pred, pair.ref)
    ]
    return float(np.linalg.norm(centres[0] - centres[1]))


SOUND = Metric(
    "planted", "Distance of centres", centre_distance, "distance of the centres of gravity", better="lower",
    undefined=("both", "reference", "prediction"),
)  # fmt: skip
IN_MM = replace(SOUND, name="planted_mm", unit="mm")


def writes(pair: Any) -> float:
    value = centre_distance(pair)
    pair.pred[0, 0, 0] = not pair.pred[0, 0, 0]
    return value


def rolls_dice(pair: Any) -> float:
    return centre_distance(pair) + float(np.random.default_rng().random())


def looks_at_the_first_row(pair: Any) -> float:
    return centre_distance(pair) + float(pair.pred[:, 0].sum())


def in_pixels(pair: Any) -> float:
    if pair.pred_empty or pair.ref_empty:
        return float("nan")
    return float(np.linalg.norm(np.argwhere(pair.pred).mean(axis=0) - np.argwhere(pair.ref).mean(axis=0)))


def negative(pair: Any) -> float:
    return -centre_distance(pair)


def infinite(pair: Any) -> float:
    return centre_distance(pair) * float("inf")


def defined_where_empty(pair: Any) -> float:
    value = centre_distance(pair)
    return 0.0 if np.isnan(value) else value


class NotAMetric:
    name = "planted"


FAULTS = [
    (NotAMetric, "describes_itself", "the factory gives NotAMetric"),
    (replace(SOUND, name="other"), "describes_itself", "its name is 'other' but it is registered as 'planted'"),
    (replace(SOUND, definition="two\nlines"), "describes_itself", "definition must be one line"),
    (replace(SOUND, range=(1.0, 1.0)), "describes_itself", "range 1.0 to 1.0 holds nothing"),
    (replace(SOUND, better="up"), "describes_itself", "better is 'up'"),
    (replace(SOUND, undefined=("neither",)), "describes_itself", "not of both, reference, prediction"),
    (replace(SOUND, unit="mm"), "describes_itself", "name must end with _mm"),
    (replace(SOUND, summaries=()), "describes_itself", "it has no summary"),
    (replace(SOUND, summaries=("mean",)), "describes_itself", "str is no summary"),
    (
        replace(SOUND, summaries=(Average("detection", "all", ""),)),
        "describes_itself",
        "section 'detection' of",
    ),
    (replace(SOUND, summaries=(Ratio("pooled", "", {"tpp": 1}, {"tp": 1}),)), "describes_itself", "tpp is no built-in"),
    (replace(SOUND, measure=negative), "values_are_in_range", "outside its range 0 to inf"),
    (replace(SOUND, measure=infinite), "values_are_in_range", "is inf"),
    (replace(SOUND, measure=str), "values_are_in_range", "gives str"),
    (replace(SOUND, measure=defined_where_empty), "is_undefined_as_declared", "with both masks empty it is 0.0"),
    (replace(SOUND, undefined=("both",)), "is_undefined_as_declared", "with an empty reference it is nan"),
    (replace(SOUND, measure=writes), "is_pure", "writes into what it is given"),
    (replace(SOUND, measure=rolls_dice), "is_repeatable", "masks overlapping: gives"),
    (replace(SOUND, measure=looks_at_the_first_row), "does_not_depend_on_flips", "with rows in reverse order"),
    (replace(SOUND, measure=lambda pair: centre_distance(pair)), "goes_to_worker_processes", "pickle"),
    (replace(SOUND, summaries=(Average("volume", "nobody", ""),)), "describes_itself", "a mean over 'nobody'"),
    (replace(SOUND, summaries=(BY_VOLUME, Total("by_volume"))), "is_summarised", "float"),
]


def built(metric: Any) -> Callable[..., Any]:
    return metric if isinstance(metric, type) else partial(replace, metric)


@pytest.mark.parametrize(("metric", "check_name", "message"), FAULTS)
def test_the_fault_is_found(find_fault: Run, metric: Any, check_name: str, message: str) -> None:
    outcome = find_fault("metric", check_name, built(metric))
    assert outcome.status == "failed"
    assert re.search(message, outcome.detail), outcome.detail


@pytest.mark.parametrize("check_name", sorted({name for _, name, _ in FAULTS}))
def test_a_sound_metric_passes(find_fault: Run, check_name: str) -> None:
    assert find_fault("metric", check_name, built(SOUND)).status == "passed"


@pytest.mark.parametrize(("measure", "status"), [(centre_distance, "passed"), (in_pixels, "failed")])
def test_a_length_must_grow_with_the_masks(measure: Any, status: str) -> None:
    from ctseg.conformance.metric_checks import scales_with_its_unit
    from ctseg.conformance.subject import Fault

    class Subject:
        def build(self) -> Metric:
            return replace(IN_MM, measure=measure)

    if status == "passed":
        scales_with_its_unit(Subject(), None)  # type: ignore[arg-type]
        return
    with pytest.raises(Fault, match="at twice the size; is its unit mm"):
        scales_with_its_unit(Subject(), None)  # type: ignore[arg-type]


def test_a_pure_number_has_no_size_to_grow_with(find_fault: Run) -> None:
    assert find_fault("metric", "scales_with_its_unit", built(SOUND)).status == "skipped"


@pytest.mark.parametrize("name", [metric.name for metric in METRICS])
def test_every_built_in_metric_passes(name: str) -> None:
    bound = checks("metric", name, registry=BUILT_IN)
    assert len(bound) == len(CATALOGUE["metric"]())
    assert [(item.__name__, outcome.detail) for item in bound[1:] if (outcome := item.run()).status == "failed"] == []
