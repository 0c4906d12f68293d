"""The cases of a segmentation as they are finished: a live table on a terminal, a row each in a log, or JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from ctseg.cli import common
from ctseg.harmless import one_line

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from ctseg.inference.results import CaseResult

TITLES = ("case", "status", "mL", "range", "lesions", "s", "remarks")
RIGHT = frozenset({"mL", "range", "lesions", "s"})
COLOURS = {"ok": "green", "failed": "red", "working": "yellow"}
OTHER_LINES = 5
"""Lines of the live view that are no finished case: header, current case, number of cases above, bar, a spare line."""


class CaseRows:
    """`with CaseRows(names) as rows: rows.add(result)`: JSON lines on stdout, or rows for people in a log on stderr."""

    def __init__(self, names: Sequence[str], *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._bar = common.bar("Segment", len(names))

    def __enter__(self) -> CaseRows:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def add(self, result: CaseResult) -> None:
        """Say one more finished case."""
        if self.as_json:
            row = {key: value for key, value in asdict(result).items() if key != "traceback"}
            _print_line(json.dumps(row, default=str))
        else:
            if not self._bar.done:
                common.say(_line(TITLES))
            if common.STATE.quiet and result.status != "ok":
                common.say(f"{common.FAILED}{result.case}: {cells(result)[-1]}", is_error=True)
            common.say(_line(cells(result)))
        self._bar.advance(1, result.case)


class LiveCaseRows(CaseRows):
    """The same as a table that stays in place on a terminal: the latest cases, the current one and the time left.

    When it ends, the whole table is left on the terminal.
    """

    def __init__(self, names: Sequence[str], console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        from ctseg.progress import rich_bar

        self.names, self.results = list(names), list[Any]()
        self.console = console or Console(stderr=True)
        self._progress = rich_bar(self.console)
        self._task = self._progress.add_task("Segment", total=len(self.names), note="")
        self._running = False
        self._live = Live(get_renderable=self.view, console=self.console, refresh_per_second=4)

    def __enter__(self) -> CaseRows:
        self._running = True
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        self._live.stop()

    def add(self, result: CaseResult) -> None:
        """Add a finished case to the table."""
        self.results.append(result)
        self._progress.update(self._task, completed=len(self.results))

    def view(self) -> Group:
        """What the terminal shows now: as many cases as fit while it runs, all of them at the end."""
        from rich.console import Group
        from rich.text import Text

        room = max(1, self.console.height - OTHER_LINES) if self._running else len(self.results)
        shown = self.results[max(0, len(self.results) - room) :]
        above = len(self.results) - len(shown)
        lines = [Text(f"{above} cases above", style="dim")] if above else []
        return Group(*lines, self._table(shown), self._progress)

    def _table(self, shown: Sequence[CaseResult]) -> Table:
        from rich.table import Table
        from rich.text import Text

        ranges = any(result.ml_low is not None for result in self.results)
        titles = [title for title in TITLES if ranges or title != "range"]
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        for title in titles:
            table.add_column(title, **self._layout(title))
        for row in self._rows(shown):
            style = COLOURS.get(row["status"], "")
            table.add_row(*(Text(one_line(row.get(title, "")), style if title == "status" else "") for title in titles))
        return table

    def _rows(self, shown: Sequence[CaseResult]) -> list[dict[str, str]]:
        """Title -> cell of the finished cases, and of the one at work."""
        rows = [dict(zip(TITLES, cells(result), strict=True)) for result in shown]
        if self._running and len(self.results) < len(self.names):
            rows.append({"case": self.names[len(self.results)], "status": "working"})
        return rows

    def _layout(self, title: str) -> dict[str, Any]:
        """A column's form; while it runs every row is one line, so that it is known how many fit."""
        side: dict[str, Any] = {"justify": "right" if title in RIGHT else "left"}
        if title != "remarks":
            return {**side, "no_wrap": True, "overflow": "ellipsis", "max_width": 32}
        return {**side, "no_wrap": self._running, "overflow": "ellipsis" if self._running else "fold", "ratio": 1}


def case_rows(names: Sequence[str], *, as_json: bool) -> CaseRows:
    """The live table where a person sees it, else rows or JSON lines."""
    if sys.stderr.isatty() and not (as_json or common.STATE.quiet):
        return LiveCaseRows(names)
    return CaseRows(names, as_json=as_json)


def cells(result: CaseResult) -> tuple[str, ...]:
    """A case as the cells of `TITLES`; `range` is that of the members' volumes where there are several."""
    seconds = "" if result.seconds is None else f"{result.seconds:.1f}"
    if result.ml is None:
        return result.case, result.status, "", "", "", seconds, result.error.removeprefix(f"{result.case}: ")
    between = "" if result.ml_low is None else f"{result.ml_low:.2f} to {result.ml_high:.2f}"
    remarks = ["finished before"] if result.resumed else []
    remarks += [f"OUT OF DISTRIBUTION: {result.ood}"] if result.ood else []
    remarks += [text] if (text := _corrected(result)) else []
    remarks += [text] if (text := _recovery(result)) else []
    remarks += [text] if (text := _other_blood(result)) else []
    remarks += [result.note] if result.note else []
    return result.case, result.status, f"{result.ml:.2f}", between, str(result.lesions), seconds, "; ".join(remarks)


def _corrected(result: CaseResult) -> str:
    """The volume without the bias that the model's card states."""
    from ctseg.inference.millilitres import ml_range_text, ml_text

    low, high = result.ml_corrected_low, result.ml_corrected_high
    if result.ml_corrected is None or low is None or high is None:
        return ""
    level = "" if result.ml_corrected_level is None else f"{100 * result.ml_corrected_level:g} %: "
    between = ml_range_text(low, high).removesuffix(" mL")
    return f"corrected {ml_text(result.ml_corrected)} ({level}{between})"


def _recovery(result: CaseResult) -> str:
    """The Dice that known haematomas say the mask may have, and what came back of the bright ones, smallest first."""
    from ctseg.inference.results import recovery_text

    dices = {2.0: result.recovery_2ml, 5.0: result.recovery_5ml, 15.0: result.recovery_15ml}
    return recovery_text(result.recovery, result.recovery_hu, dices)


def _other_blood(result: CaseResult) -> str:
    """The blood outside the brain's tissue, by kind; that there is none is said, too, where it was asked for."""
    if result.other_ml is None:
        return ""
    from ctseg.inference.millilitres import ml_text

    kinds = {"IVH": result.ivh_ml, "SAH": result.sah_ml, "SDH": result.sdh_ml, "EDH": result.edh_ml}
    found = [f"{name} {ml_text(ml)}" for name, ml in kinds.items() if ml]
    return f"other blood (a hint, not reliable): {', '.join(found) or 'none'}"


def _print_line(text: str) -> None:
    """A line on stdout; a reader that is gone, as `head -1`, interrupts: the other cases are not done."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        common.close_stdout()
        raise KeyboardInterrupt from None


def _line(row: Sequence[str]) -> str:
    case, status, ml, between, lesions, seconds, remarks = row
    case, remarks = one_line(case), one_line(remarks)
    return f"{case:<18}  {status:<6}  {ml:>8}  {between:>17}  {lesions:>7}  {seconds:>6}  {remarks}".rstrip()
