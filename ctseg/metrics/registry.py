"""What a metric is: a value of one predicted mask and its reference, with its unit, range, definition and summaries.

A metric that is registered, built-in or from a plugin, is a column of `cases.csv`, has its summaries in `summary.json`
and is in the report. The built-in ones are in `ctseg.metrics.catalogue`. No import here is heavy, since `ctseg
--help` loads plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import isnan
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from ctseg.errors import PluginError

if TYPE_CHECKING:
    from ctseg.metrics.pair import MaskPair

Cases = Literal["lesion", "negative", "volume", "all"]
"""Cases with a lesion in the reference; without one; in which either mask holds anything; all."""

Slices = Literal["all", "positive"]
"""All slices, or those with a lesion in the reference."""

Empty = Literal["both", "reference", "prediction"]
"""Which of the two masks is empty: both, the reference alone or the prediction alone."""

RANGE_MARGIN = 1e-6
"""By how much of its range, 1 at least, rounding may carry a value beyond it."""
MOST_WHOLE = 2.0**63
"""No column of whole numbers holds more."""
WITHOUT_PLUGINS = "--no-plugins evaluates without it"
EMPTY: tuple[Empty, ...] = ("both", "reference", "prediction")
UNLIMITED = float("inf")
CASE_COLUMNS = ("model", "case", "patient", "status", "message")
"""Columns of cases.csv that are no metric."""
RESERVED = frozenset(
    ("name", "failed", "cases", "patients", "with_lesion", "both_empty", "missed_cases", "lesions", "detection",
     "subtypes", "uncertainty")
)  # fmt: skip
"""Keys of a model in summary.json that no section of a metric may have."""

Row = tuple[str, tuple[str, ...]]
"""A line of the report's first table: its title, and the keys that lead to the number in summary.json."""


@dataclass(frozen=True)
class Average:
    """Mean and median of the values of some cases, undefined ones left out and counted.

    In summary.json: `models[].SECTION.METRIC.{mean,median,undefined}`.
    """

    section: str
    over: Cases
    title: str
    """What the report says of it, after the metric's title."""
    shown: tuple[Literal["mean", "median"], ...] = ("mean",)
    """Which of the two are in the report's first table."""

    def rows(self, metric: Metric) -> list[Row]:
        """The lines of the report's first table."""
        head = f"{metric.heading} {self.title}".rstrip()
        return [(f"{head}, {statistic}", (self.section, metric.name, statistic)) for statistic in self.shown]


@dataclass(frozen=True)
class Ratio:
    """A sum over all cases divided by another: columns of `cases.csv`, each times a number.

    In summary.json: `models[].SECTION.METRIC`.
    """

    section: str
    title: str
    parts: Mapping[str, float] = field(default_factory=dict)
    """Column -> its factor in the numerator."""
    wholes: Mapping[str, float] = field(default_factory=dict)
    """Column -> its factor in the denominator."""

    def rows(self, metric: Metric) -> list[Row]:
        """The line of the report's first table."""
        return [(f"{metric.heading}, {self.title}", (self.section, metric.name))]


@dataclass(frozen=True)
class SliceMean:
    """Mean over the slices of all cases of a value that is itself a mean over the slices of its case.

    In summary.json: `models[].SECTION.METRIC`.
    """

    section: str = "per_slice"
    title: str = "mean over slices"
    slices: Slices = "all"

    def rows(self, metric: Metric) -> list[Row]:
        """The line of the report's first table."""
        return [(f"{metric.heading}, {self.title}", (self.section, metric.name))]


@dataclass(frozen=True)
class Total:
    """The sum over all cases. In summary.json: `models[].SECTION.METRIC`."""

    section: str = "total"

    def rows(self, metric: Metric) -> list[Row]:  # noqa: ARG002 - the form that all summaries have
        """None: the report's first table holds no sums."""
        return []


Summary = Average | Ratio | SliceMean | Total

BY_VOLUME = Average("by_volume", "lesion", "by volume")
BY_VOLUME_WITH_MEDIAN = Average("by_volume", "lesion", "by volume", ("mean", "median"))
VOLUME_AGREEMENT = Average("volume", "volume", "")
NEGATIVE_CASES = Average("negative_cases", "negative", "in negative cases")
PER_SLICE = SliceMean()
PER_POSITIVE_SLICE = SliceMean(title="mean over haemorrhage-positive slices", slices="positive")
TOTAL = Total()


def pooled(parts: Mapping[str, float], wholes: Mapping[str, float]) -> Ratio:
    """The metric of the voxels of all cases together, so that false positives in negative cases count."""
    return Ratio("pooled", "pooled over voxels", parts, wholes)


@dataclass(frozen=True)
class Metric:
    """One metric of a predicted mask and its reference."""

    name: str
    """Column of cases.csv and key of summary.json; ends with the unit where there is one (`hd95_mm`)."""
    title: str
    """Its name for a person, without the unit."""
    measure: Callable[[MaskPair], float]
    """Pure: the same value for the same pair, which it does not change. A function of a module, so that worker
    processes can have it."""
    definition: str
    unit: str = ""
    """`mm`, `mL`, `voxels`, `slices`, `lesions`; empty for a pure number."""
    range: tuple[float, float] = (0.0, UNLIMITED)
    """The smallest and the largest value."""
    better: Literal["higher", "lower", "neither"] = "neither"
    undefined: tuple[Empty, ...] = ()
    """With which empty masks the value is NaN; it is a number with all others."""
    reference: str = ""
    """Where the definition comes from."""
    summaries: tuple[Summary, ...] = (BY_VOLUME,)
    listed: bool = True
    """Whether it is a column of the report's table of cases."""

    made_by: str = ""
    """Package and version of a metric that is no built-in; ctseg fills it in."""

    def value(self, pair: MaskPair) -> float:
        """The metric of one pair.

        Raises:
            PluginError: if `measure` raises or gives no number of the metric's range, naming the metric.
        """
        from ctseg.plugins.called import plugin_call

        who = f"metric {self.name!r}{f' of {self.made_by}' if self.made_by else ''}"
        try:
            with plugin_call(who) if self.made_by else nullcontext():
                value: float = self._number(self.measure(pair), who)
                return value
        except PluginError as error:
            raise PluginError(f"{error}; {WITHOUT_PLUGINS}") from error
        except MemoryError:
            raise
        except Exception as error:  # a metric of somebody's own, who calls from Python
            text = " ".join(str(error).split())
            raise PluginError(f"{who}: {type(error).__name__}: {text}; {WITHOUT_PLUGINS}") from error

    def _number(self, value: Any, who: str) -> Any:
        """A number within the range, or NaN; whole numbers stay whole.

        Raises:
            PluginError: if it is none; in a column of numbers it would change the means.
        """
        if not _is_number(value):
            raise PluginError(f"{who}: gives a {type(value).__name__}, not a number")
        number, (low, high) = float(value), self.range
        margin = RANGE_MARGIN * max([1.0, *(abs(end) for end in self.range if abs(end) != UNLIMITED)])
        if abs(number) == UNLIMITED or not (isnan(number) or low - margin <= number <= high + margin):
            raise PluginError(f"{who}: gives {number:g}, which is outside its range of {low:g} to {high:g}")
        is_whole = isinstance(value, Integral) and not isinstance(value, bool) and abs(number) < MOST_WHOLE
        return int(value) if is_whole else number

    def check(self, columns: Collection[str]) -> None:
        """Refuse a name or a section that would overwrite something else of the evaluation, and parts of a wrong kind.

        Args:
            columns: the names of all metrics that are measured.

        Raises:
            PluginError: naming it.
        """
        if self.name in CASE_COLUMNS:
            raise PluginError(f"metric {self.name!r}: is a column of cases.csv already; give it another name")
        taken = sorted({getattr(summary, "section", "") for summary in self.summaries} & RESERVED)
        if taken:
            raise PluginError(f"metric {self.name!r}: section {taken[0]!r} of summary.json is taken; use another one")
        fault = self._fault(columns)
        if fault:
            made_by = f" of {self.made_by}" if self.made_by else ""
            raise PluginError(f"metric {self.name!r}{made_by}: {fault}; {WITHOUT_PLUGINS}")

    def _fault(self, columns: Collection[str]) -> str:
        """What of its description the summary and the report could not take, after all has been measured."""
        for part in ("name", "title", "definition", "unit", "reference"):
            if not isinstance(getattr(self, part), str):
                return f"its {part} is a {type(getattr(self, part)).__name__}, not a text"
        if not _is_range(self.range):
            return f"its range {self.range!r} is not a smaller and a larger number"
        for summary in self.summaries:
            if not isinstance(summary, Summary):
                return f"a {type(summary).__name__} is no summary of ctseg.metrics.registry"
            used = {*summary.parts, *summary.wholes} if isinstance(summary, Ratio) else set()
            if not used <= set(columns):
                return f"its ratio is of {sorted(used - set(columns))[0]!r}, which is no metric"
        return ""

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def described(self) -> dict[str, object]:
        """For summary.json; an unlimited end of the range is null."""
        low, high = (None if abs(end) == UNLIMITED else end for end in self.range)
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "range": [low, high],
            "better": self.better,
            "definition": self.definition,
            "undefined": list(self.undefined),
            "reference": self.reference,
            "sections": [summary.section for summary in self.summaries],
            "report_rows": [list(row) for summary in self.summaries for row in summary.rows(self)],
            "report_column": self.listed,
            **({"made_by": self.made_by} if self.made_by else {}),
        }


def _is_number(given: Any) -> bool:
    """One real number; numpy's complex numbers and times have a `__float__`, too."""
    kind = getattr(getattr(given, "dtype", None), "kind", "f")
    return hasattr(given, "__float__") and not getattr(given, "ndim", None) and kind in "biuf"


def _is_range(given: Any) -> bool:
    """A smaller and a larger number."""
    are_two = isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(end, Real) for end in given)
    return are_two and bool(given[0] < given[1])


def check_metric(given: object, name: str, who: str) -> None:
    """Refuse what a plugin gives in place of the metric that it registered.

    Args:
        given: what its factory made.
        name: the registered name; a metric of another name would replace the one that has it.
        who: names plugin and package.

    Raises:
        PluginError: naming the plugin.
    """
    if not isinstance(given, Metric):
        raise PluginError(f"{who}: gives a {type(given).__name__}, not a ctseg.metrics.registry.Metric")
    if given.name != name:
        raise PluginError(f"{who}: gives a metric of the name {given.name!r}; both names have to be one")
