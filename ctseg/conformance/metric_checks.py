"""Checks of metrics of `ctseg evaluate`, on small mask pairs: overlapping, apart, equal, of one slice, and empty."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from ctseg.conformance.subject import NotApplicable, Subject, require
from ctseg.conformance.toys import toy_pairs
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.summary import summarise
from ctseg.io.stack import Grid
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.pair import MaskPair
from ctseg.metrics.registry import EMPTY, Average, Cases, Metric, Ratio, SliceMean, Total

DIMENSIONS = {"mm": 1, "mm²": 2, "mL": 3}
"""By which power of a length a metric of this unit grows."""
ENDINGS = {"mm": "_mm", "mL": "_ml"}
CLOSE = 1e-6
"""Relative and absolute."""


def describes_itself(subject: Subject, _folder: Path) -> None:
    """It is a `Metric` of the registered name, with title, definition, range, direction and known summaries."""
    metric = subject.build()
    require(isinstance(metric, Metric), f"the factory gives {type(metric).__name__}, not ctseg.metrics.registry.Metric")
    require(metric.name == subject.name, f"its name is {metric.name!r} but it is registered as {subject.name!r}")
    for name in ("title", "definition"):
        text = getattr(metric, name)
        require(text.strip() and "\n" not in text, f"{name} must be one line, not {text!r}")
    low, high = metric.range
    require(low < high, f"its range {low} to {high} holds nothing")
    require(metric.better in ("higher", "lower", "neither"), f"better is {metric.better!r}")
    require(set(metric.undefined) <= set(EMPTY), f"undefined is {metric.undefined!r}, not of {', '.join(EMPTY)}")
    ending = ENDINGS.get(metric.unit, "")
    require(metric.name.endswith(ending), f"it is in {metric.unit}, so its name must end with {ending}")
    _check_summaries(metric)


def _check_summaries(metric: Metric) -> None:
    require(metric.summaries, "it has no summary; ctseg.metrics.registry.BY_VOLUME is the usual one")
    known = {*(item.name for item in METRICS), metric.name}
    for summary in metric.summaries:
        of_ours = isinstance(summary, Average | Ratio | SliceMean | Total)
        require(of_ours, f"{type(summary).__name__} is no summary of ctseg.metrics.registry")
        over = getattr(summary, "over", "all")
        require(over in get_args(Cases), f"a mean over {over!r}, not over {', '.join(get_args(Cases))}")
        columns = {*summary.parts, *summary.wholes} if isinstance(summary, Ratio) else set()
        require(columns <= known, f"{', '.join(sorted(columns - known))} is no built-in metric and not its own name")
    metric.check(known)


def values_are_in_range(subject: Subject, _folder: Path) -> None:
    """Values are finite numbers within the declared range wherever both masks hold something."""
    metric = subject.build()
    for name, pair in toy_pairs().items():
        value = metric.measure(pair)
        if name not in EMPTY:
            require(isinstance(value, float | int | np.number), f"masks {name}: gives {type(value).__name__}")
            require(math.isfinite(value), f"masks {name}: is {value}")
        _require_in_range(metric, value, name)


def _require_in_range(metric: Metric, value: float, name: str) -> None:
    low, high = metric.range
    inside = math.isnan(value) or low <= value <= high
    require(inside, f"masks {name}: is {value}, outside its range {low:g} to {high:g}")


def is_undefined_as_declared(subject: Subject, _folder: Path) -> None:
    """With empty masks it is NaN where `undefined` says so, and a number where it does not."""
    metric, pairs = subject.build(), toy_pairs()
    for empty in EMPTY:
        value, declared = metric.measure(pairs[empty]), empty in metric.undefined
        words = "both masks empty" if empty == "both" else f"an empty {empty}"
        require(math.isnan(value) == declared, f"with {words} it is {value}; is {empty!r} in its `undefined`?")


def is_pure(subject: Subject, _folder: Path) -> None:
    """It changes neither the masks nor their geometry, which may be read-only."""
    metric = subject.build()
    for name, pair in toy_pairs().items():
        copy = _writeable(pair)
        metric.measure(copy)
        same = all(map(np.array_equal, _arrays(copy), _arrays(pair)))
        require(same, f"masks {name}: writes into what it is given")
        metric.measure(pair)


def _arrays(pair: MaskPair) -> list[Any]:
    grid = pair.grid
    return [pair.pred, pair.ref, grid.origins_mm, grid.row_step_mm, grid.col_step_mm, grid.slab_mm]


def _writeable(pair: MaskPair) -> MaskPair:
    pred, ref, origins, row, col, slabs = (array.copy() for array in _arrays(pair))
    return replace(pair, pred=pred, ref=ref, grid=Grid(origins, row, col, slabs))


def is_repeatable(subject: Subject, _folder: Path) -> None:
    """The same masks give the same value, bit for bit: twice, and from two metrics with the same settings."""
    metric = subject.build()
    for name in toy_pairs():
        values = [metric.measure(toy_pairs()[name]) for _ in range(2)] + [subject.build().measure(toy_pairs()[name])]
        same = np.array_equal(values, [values[0]] * 3, equal_nan=True)
        require(same, f"masks {name}: gives {', '.join(map(str, values))}")


def does_not_depend_on_flips(subject: Subject, _folder: Path) -> None:
    """The value stays when slices, rows or columns are stored in reverse order."""
    metric = subject.build()
    for name, pair in toy_pairs().items():
        expected = metric.measure(pair)
        for axis, words in enumerate(("slices", "rows", "columns")):
            found = metric.measure(_flipped(pair, axis))
            same = np.isclose(found, expected, CLOSE, CLOSE, equal_nan=True)
            require(same, f"masks {name}: is {expected} but {found} with {words} in reverse order")


def _flipped(pair: MaskPair, axis: int) -> MaskPair:
    """The same masks in space, stored with one axis reversed."""
    grid, last = pair.grid, pair.pred.shape[axis] - 1
    if axis == 0:
        turned = replace(grid, origins_mm=grid.origins_mm[::-1], slab_mm=grid.slab_mm[::-1])
    elif axis == 1:
        turned = replace(grid, origins_mm=grid.origins_mm + last * grid.row_step_mm, row_step_mm=-grid.row_step_mm)
    else:
        turned = replace(grid, origins_mm=grid.origins_mm + last * grid.col_step_mm, col_step_mm=-grid.col_step_mm)
    return replace(pair, pred=np.flip(pair.pred, axis), ref=np.flip(pair.ref, axis), grid=turned)


def scales_with_its_unit(subject: Subject, _folder: Path) -> None:
    """Masks of twice the length in every direction give twice the mm, four times the mm² and eight times the mL."""
    metric = subject.build()
    if metric.unit not in DIMENSIONS:
        raise NotApplicable(f"its unit is {metric.unit or 'none'}, no length, area or volume")
    factor = 2 ** DIMENSIONS[metric.unit]
    for name, pair in toy_pairs().items():
        small, large = metric.measure(pair), metric.measure(_enlarged(pair))
        same = np.isclose(large, factor * small, CLOSE, CLOSE, equal_nan=True)
        require(same, f"masks {name}: is {small}, and {large} at twice the size; is its unit {metric.unit}?")


def _enlarged(pair: MaskPair) -> MaskPair:
    grid = pair.grid
    doubled = Grid(2 * grid.origins_mm, 2 * grid.row_step_mm, 2 * grid.col_step_mm, 2 * grid.slab_mm)
    return replace(pair, grid=doubled, nsd_tolerance_mm=2 * pair.nsd_tolerance_mm, min_lesion_ml=8 * pair.min_lesion_ml)


def goes_to_worker_processes(subject: Subject, _folder: Path) -> None:
    """It can be pickled, and the copy gives the same value: `ctseg evaluate --workers` sends it to other processes."""
    metric, pair = subject.build(), toy_pairs()["overlapping"]
    copy = pickle.loads(pickle.dumps(metric))  # noqa: S301 - what was just pickled
    require(copy.measure(pair) == metric.measure(pair), "a pickled copy gives another value")


def is_summarised(subject: Subject, _folder: Path) -> None:
    """Its summaries of several cases are in summary.json where it says, with a line of the report for each."""
    metric = subject.build()
    metrics = tuple({item.name: item for item in (*METRICS, metric)}.values())
    rows = [
        {"patient": name, **{item.name: item.measure(pair) for item in metrics}} for name, pair in toy_pairs().items()
    ]
    found = summarise(pd.DataFrame(rows), EvaluationSettings(resamples=100), metrics)
    for summary in metric.summaries:
        require(metric.name in found[summary.section], f"{summary.section} of summary.json lacks it")
        for title, keys in summary.rows(metric):
            estimate = reduce(lambda node, key: node[key], keys, found)
            require("value" in estimate, f"{title}: no number at {'.'.join(keys)} of summary.json")
