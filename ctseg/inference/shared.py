"""Segment the cases of one output together with other calls of the same command: `--share`."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, partial
from typing import Any

from ctseg.errors import InputError, UnreadableError
from ctseg.inference.models import ModelGroup, all_models
from ctseg.inference.results import (
    DETAILS,
    CaseResult,
    ResultTable,
    earlier_rows,
    is_row,
    read_rows,
    remove_case,
    start_folder,
)
from ctseg.inference.resume import is_current
from ctseg.io.case import Case
from ctseg.io.digest import glance
from ctseg.io.input_digests import text_digest
from ctseg.outputs import Output, begin, finish, is_still_there, recover
from ctseg.outputs.claims import MOST_DEATHS
from ctseg.outputs.sharing import FINISH, START, Share, SpoiltRecordError, sharing
from ctseg.plugins.protocols import BrainExtractor
from ctseg.same_code import CODE, codes_of

KILLED = f"{MOST_DEATHS} processes were killed while they worked on this case, often for lack of memory"

FIELDS = {item.name for item in fields(CaseResult)}


@dataclass(frozen=True)
class SharedWork:
    """What the calls that share a segmentation all know."""

    cases: Sequence[Case]
    place: Output
    head: Mapping[str, Any]
    """Of `volumes.json`."""
    files: Sequence[str]
    """All that may be written."""
    segment: Callable[[Iterable[Case]], Generator[tuple[Case, CaseResult]]]
    """Cases -> their rows, once their files are written."""
    digest: Callable[[Case], str]
    unreadable: Sequence[CaseResult] = ()
    on_case: Callable[[CaseResult], None] | None = None
    scans: Mapping[str, Any] = field(default_factory=dict)
    """What the output's mark says of the scans."""
    made_by: Sequence[str] = ()
    """See the function of that name."""

    @cached_property
    def names(self) -> dict[str, Case]:
        """Name -> case."""
        return {case.case_id: case for case in self.cases}

    def key(self) -> str:
        """What calls have to have in common to share."""
        made_with = json.dumps([self.head["settings"], self.head["models"], self.made_by], sort_keys=True, default=str)
        return text_digest(f"segment {CODE} {made_with} {glance(self.cases)}")


def made_by(groups: Sequence[ModelGroup], extractor: BrainExtractor | None) -> list[str]:
    """What decides the files beside settings and weights: plugins' code, and what the models' cards correct by."""
    models = all_models(groups)
    return [*codes_of(extractor, *(model.module for model in models)), *(str(model.volumes) for model in models)]


def segment_together(work: SharedWork) -> list[CaseResult]:
    """Segment what no other call does, until all is done by whomever.

    Returns:
        One row a case, in order, then the unreadable files.

    Raises:
        InputError: if other calls share the output for other scans, models, settings or with another version, or one
            that does not share writes there.
    """
    key = work.key()
    with sharing(work.place, key, "scans, models, settings, plugin or code of ctseg") as share:
        if share is not None:
            share.once(START, partial(_start, work, share))
            with _still_there(work, share):
                share.cases(list(work.names), partial(_take_part, work, share), partial(_give_up, work, share))
                share.once(FINISH, partial(_finish, work, share))
    rows = read_rows(work.place.path)
    return [rows[name] for name in (*work.names, *(row.case for row in work.unreadable))]


@contextmanager
def _still_there(work: SharedWork, share: Share) -> Iterator[None]:
    """Say how it goes on where somebody has moved or removed the output that some cases are already in.

    Raises:
        InputError: naming the output, and the folder that says what is in it.
    """
    out = work.place.path
    gone = InputError(
        f"{out}: was moved, removed or replaced since calls with --share began it; put it back, or remove "
        f"{share.claims.folder} to begin again, and call again"
    )
    if not is_still_there(out) and share.claims.is_same():
        raise gone
    try:
        yield
    except InputError:
        if is_still_there(out) or not share.claims.is_same():
            raise
        raise gone from None


def _start(work: SharedWork, share: Share) -> None:
    """Once: check what is there already, and mark the output as unfinished."""
    work.place.check_filled()
    start_folder(work.place.path, work.head, resume=True, overwrite=False, say=work.place.say)
    if share.finished():  # by others, to whom this process was dead
        return
    begin(work.place, work.files, {"share": share.key, **work.scans})
    if not share.claims.is_same() and _is_whole(work):  # they have finished it since then, and the mark denies that
        finish(work.place)


def _is_whole(work: SharedWork) -> bool:
    """Whether the tables hold a row for each scan as it is now."""
    out = work.place.path
    if not (out / DETAILS).is_file():
        return False
    rows = read_rows(out)
    done = (name for name, case in work.names.items() if name in rows and _counts(work, case, rows[name]))
    return set(done) == work.names.keys() and all(row.case in rows for row in work.unreadable)


def _counts(work: SharedWork, case: Case, row: CaseResult) -> bool:
    return row.status == "failed" or is_current(work.place.path, case, row, work.digest)


def _take_part(work: SharedWork, share: Share, names: Iterator[str]) -> None:
    earlier = earlier_rows(work.place.path)

    def to_do() -> Iterator[Case]:
        for name in names:
            case, row = work.names[name], earlier.get(name)
            if row is not None and is_current(work.place.path, case, row, work.digest):
                _publish(work, share, row)
            else:
                yield case

    with closing(work.segment(to_do())) as rows:
        for _, result in rows:
            _publish(work, share, result)


def _give_up(work: SharedWork, share: Share, name: str) -> None:
    _publish(work, share, CaseResult(name, "failed", error=f"{name}: {KILLED}"))


def _publish(work: SharedWork, share: Share, result: CaseResult) -> None:
    """Record a row; said by the process whose row counts."""
    row = {key: value for key, value in asdict(result).items() if key != "traceback"}
    if share.publish_json(result.case, row) and work.on_case is not None:
        work.on_case(result)


def _finish(work: SharedWork, share: Share) -> None:
    """Once: the tables of all rows, and the mark that says that the output is whole."""
    order = list(work.names)
    table = ResultTable(work.place.path, work.head, order, earlier_rows(work.place.path))
    for name in order:
        row = table.rows[name] = _row(share, name)
        if row.status == "failed":
            remove_case(work.place.path, name)  # of an earlier call, or of one that was stopped in the middle of it
    for row in work.unreadable:
        table.rows[row.case] = row
    table.finish()
    recover(work.place.real, work.place.say)  # of processes that were killed: nobody else is at work any more
    finish(work.place)


def _row(share: Share, name: str) -> CaseResult:
    """The row that some call recorded.

    Raises:
        SpoiltRecordError: if it is none.
    """
    path = share.claims.record(name)
    try:
        data = share.read(name)
    except UnreadableError:
        raise
    except InputError:
        raise SpoiltRecordError(path) from None
    if not is_row(data) or data["case"] != name or not set(data) <= FIELDS or not _are_looks(data.get("looks", {})):
        raise SpoiltRecordError(path)
    return CaseResult(**data)


def _are_looks(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
