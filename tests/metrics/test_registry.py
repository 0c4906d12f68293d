"""The registry of metrics: what each entry declares is true, and it is what the docs say."""

from __future__ import annotations

import math
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ctseg.errors import PluginError
from ctseg.io.stack import Grid
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.lesions import SIZES
from ctseg.metrics.overlap import defined, dice, dice_of, dice_per_slice, iou, precision, sensitivity
from ctseg.metrics.pair import MaskPair
from ctseg.metrics.registry import RESERVED, UNLIMITED, Metric

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
EMPTY_WORDS = {"both": "both", "reference": "the reference alone", "prediction": "the prediction alone"}


def span(metric: Metric) -> str:
    low, high = metric.range
    if low == -UNLIMITED:
        return "any"
    return f"≥ {low:g}" if high == UNLIMITED else f"{low:g} to {high:g}"


def row(metric: Metric) -> str:
    cells = (
        f"`{metric.name}`", metric.unit or "–", span(metric), metric.better,
        ", ".join(EMPTY_WORDS[which] for which in metric.undefined) or "never", metric.definition,
        metric.reference or "–", ", ".join(f"`{summary.section}`" for summary in metric.summaries),
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """The table of docs/evaluation.md; lesions by size have a sentence below it instead."""
    head = "| column | unit | range | better | undefined where empty | definition | reference | summaries |"
    shown = [metric for metric in METRICS if not metric.name.endswith(SIZES)]
    return "\n".join([head, "|---" * 8 + "|", *map(row, shown)])


def test_the_docs_have_the_table_of_the_registry():
    assert table() in PAGE.read_text(encoding="utf-8")


def test_names_are_different_and_end_with_the_unit_of_length_or_volume():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        unit = {"mm": "_mm", "mL": "_ml"}.get(metric.unit, "")
        assert metric.name.endswith(unit), metric.name
        assert not {summary.section for summary in metric.summaries} & RESERVED


def masks(rng):
    some, other = rng.random((2, 5, 9, 11)) < 0.2
    none = np.zeros_like(some)
    return {"": (some, other), "both": (none, none), "reference": (some, none), "prediction": (none, some)}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_values_are_in_their_range_and_undefined_as_declared(rng, metric):
    for empty, (pred, ref) in masks(rng).items():
        value = metric.value(MaskPair.of(pred, ref, Grid.even(5, (4.0, 0.5, 0.7))))
        assert math.isnan(value) == (empty in metric.undefined), empty
        assert math.isnan(value) or metric.range[0] <= value <= metric.range[1]


def test_every_metric_goes_to_a_worker_process(rng):
    pair = MaskPair.of(*masks(rng)[""], Grid.even(5, (4.0, 0.5, 0.7)))
    copies = pickle.loads(pickle.dumps(METRICS))  # noqa: S301 - our own
    assert [copy.value(pair) for copy in copies] == [metric.value(pair) for metric in METRICS]


def test_a_metric_that_raises_is_named():
    def broken(pair):
        raise KeyError("no\nsuch thing")

    empty = np.zeros((1, 2, 2), bool)
    with pytest.raises(PluginError, match=r"metric 'mine': KeyError: .*--no-plugins") as error:
        Metric("mine", "Mine", broken, "broken").value(MaskPair.of(empty, empty, Grid.even(1, (1, 1, 1))))
    assert len(str(error.value).splitlines()) == 1


def test_overlap_by_hand():
    assert (dice(3, 1, 2), iou(3, 1, 2)) == (6 / 9, 3 / 6)
    assert (sensitivity(3, 2), precision(3, 1)) == (3 / 5, 3 / 4)
    assert dice(1, 1, 0, smooth=1) == 3 / 4
    assert all(math.isnan(value) for value in (dice(0, 0, 0), iou(0, 0, 0), sensitivity(0, 0), precision(0, 0)))
    assert (defined(math.nan), defined(0.0)) == (None, 0.0)


def test_dice_of_masks_takes_any_nonzero_value_for_foreground():
    pred, ref = np.array([[0, 2, 1, 0]]), np.array([[False, True, False, True]])
    assert dice_of(pred, ref) == 2 / 4
    assert math.isnan(dice_of(np.zeros((2, 2)), np.zeros((2, 2), bool)))
    assert dice_per_slice(np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 0]])) == (3 / 4 + 1) / 2


def test_a_pair_without_its_empty_rim_keeps_every_position(rng):
    pred, ref = np.zeros((3, 20, 20), bool), np.zeros((3, 20, 20), bool)
    pred[1, 5:9, 7:12], ref[1, 6:10, 7:13] = True, True
    grid = Grid(
        np.array([[1.0, 2, 3], [1, 2.5, 8], [1, 3, 13]]), np.array([0, 0.6, 0.1]), np.array([0.5, 0, 0]), np.full(3, 5)
    )
    pair = MaskPair.of(pred, ref, grid)
    assert pair.pred.shape == (3, 5, 6)
    np.testing.assert_allclose(pair.grid.points_mm(pair.pred), grid.points_mm(pred))


def test_settings_of_a_metric_are_bound_to_its_function():
    ranked = [metric for metric in METRICS if isinstance(metric.measure, partial)]
    assert {metric.name for metric in ranked} >= {"tp", "fp", "fn", "lesions_tp", "lesions_fp_small"}
