"""Segment many scans with one model load; a failed case is a row of the table and does not stop the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence, Sized
from concurrent.futures import Executor
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from ctseg.arguments import a_path, callback, check_executor, of_kind, refused, several, whole_number
from ctseg.errors import InputError
from ctseg.inference.finish import finish_case
from ctseg.inference.models import ModelGroup, all_models, with_card
from ctseg.inference.prefetch import Outcome, prefetch_prepared
from ctseg.inference.remembered import remembered_inputs
from ctseg.inference.results import (
    CaseResult,
    ResultTable,
    check_resume,
    files_of,
    provenance,
    start_folder,
)
from ctseg.inference.resume import unchanged
from ctseg.inference.settings import SegmentSettings
from ctseg.inference.shared import SharedWork, made_by, segment_together
from ctseg.inference.whole import WholeCases, whole_cases
from ctseg.io.case import Case, Rejected, safe_name
from ctseg.io.digest import input_digest
from ctseg.io.identity import keyed_digest
from ctseg.outputs import Output, check_still_there, growing_folder, guard_output, is_still_there
from ctseg.plugins.protocols import BrainExtractor
from ctseg.progress import ProgressCallback
from ctseg.wording import first_of

OnCase = Callable[[CaseResult], None]


def segment_cases(
    cases: Iterable[Case],
    groups: Sequence[ModelGroup],
    out: Path | Output,
    settings: SegmentSettings,
    *,
    extractor: BrainExtractor,
    resume: bool = False,
    overwrite: bool = False,
    workers: int = 0,
    executor: Executor | None = None,
    unreadable: Sequence[CaseResult] = (),
    on_case: OnCase | None = None,
    progress: ProgressCallback | None = None,
) -> list[CaseResult]:
    """Segment haemorrhage on every case and write its files, `volumes.csv` and `volumes.json` into `out`.

    Args:
        cases: as `ctseg.io.discover` finds them, names unique.
        groups: one or more models, grouped by preprocessing; their probabilities are averaged.
        out: folder, or one that was guarded already, with its own `resume` and `overwrite`; each file in it is
            written atomically.
        settings: threshold and what to write.
        extractor: finds the brain.
        resume: keep the finished cases of an earlier run with the same models and settings, if neither their input
            has changed nor their mask is damaged.
        overwrite: replace an earlier segmentation.
        workers: processes; 0: none. With two or more, a network on the CPU and some cases, each does whole cases with
            models of its own (`ctseg.inference.whole`); else they read and prepare cases ahead of the network.
        executor: used instead of own processes.
        unreadable: failed rows of files that cannot be read (`unreadable_rows`), put behind the others.
        on_case: called with every row as soon as its files are written.
        progress: called with (done, total, case).

    Returns:
        One row a case, in order, then `unreadable`.

    Raises:
        OutputExistsError: if `out` holds anything and neither `resume` nor `overwrite` is set.
        InputError: if `resume` meets other settings, or an argument is of another kind.
    """
    cases = _named_once(cases)
    groups = several(groups, ModelGroup, "segment_cases: groups")
    if not groups:
        raise InputError("segment_cases: groups: no model; `ctseg.api.load_for_segment` gives some")
    out = out if isinstance(out, Output) else a_path(out, "segment_cases: out")
    _check_kinds(settings, extractor, executor, {"resume": resume, "overwrite": overwrite},
                 {"on_case": on_case, "progress": progress})  # fmt: skip
    unreadable = several(unreadable, CaseResult, "segment_cases: unreadable", "the rows of `unreadable_rows(files)`")
    workers = whole_number(workers, "segment_cases: workers", 0)
    preprocessings = [group.preprocessing for group in groups]

    def prepare(todo: Iterable[Case]) -> Generator[tuple[Case, Outcome]]:
        return prefetch_prepared(todo, preprocessings, extractor, workers=workers, executor=executor)

    return segment_prepared(
        cases, prepare, input_digest, groups, out, settings, resume=resume, overwrite=overwrite,
        unreadable=unreadable, on_case=on_case, progress=progress, extractor=extractor,
        whole=whole_cases(groups, extractor, workers) if executor is None else None,
    )  # fmt: skip


def _named_once(given: Any) -> list[Case]:
    """The cases, whose files would be each other's if two had one name.

    Raises:
        InputError: if one is no case, or its name is another's.
    """
    cases = several(given, Case, "segment_cases: cases", "the `cases` that `ctseg.io.discover.discover(path)` finds")
    twice = [name for name, count in Counter(case.case_id for case in cases).items() if count > 1]
    if twice:
        raise InputError(f"segment_cases: cases: {twice[0]!r} is the name of two; give all paths to one `discover`")
    return cases


def _check_kinds(
    settings: Any, extractor: Any, executor: Any, flags: Mapping[str, Any], callbacks: Mapping[str, Any]
) -> None:
    """Refuse arguments of `segment_cases` of another kind: an InputError that names the first."""
    of_kind(settings, SegmentSettings, "segment_cases: settings")
    if not callable(extractor):
        raise refused("segment_cases: extractor", extractor, "a brain extractor, as `ctseg.api.load_for_segment` gives")
    check_executor(executor, "segment_cases: executor")
    for name, flag in flags.items():
        of_kind(flag, bool, f"segment_cases: {name}", "True or False")
    for name, function in callbacks.items():
        callback(function, f"segment_cases: {name}")


def unreadable_rows(files: Sequence[Rejected]) -> list[CaseResult]:
    """Failed rows of files that are no case yet, named as the files, without folders."""
    rows: dict[str, CaseResult] = {}
    for file in files:
        path = Path(file.path_or_series)
        name = safe_name(path.name)
        if name in rows:
            name = f"{name}-{keyed_digest(str(path))}"
        rows[name] = CaseResult(name, "failed", error=file.reason.replace(f"{path.parent}/", ""))
    return list(rows.values())


def segment_prepared(
    cases: Sequence[Case],
    prepare: Callable[[Iterable[Case]], Generator[tuple[Case, Outcome]]],
    digest: Callable[[Case], str],
    groups: Sequence[ModelGroup],
    out: Path | Output,
    settings: SegmentSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    unreadable: Sequence[CaseResult] = (),
    on_case: OnCase | None = None,
    progress: ProgressCallback | None = None,
    whole: WholeCases | None = None,
    extractor: BrainExtractor | None = None,
) -> list[CaseResult]:
    """As `segment_cases`, with `prepare` turning those cases that are not finished into prepared ones, in order.

    `digest` says of a case what it is made of, so that a finished case is done again where its input has changed.
    `whole` does cases from the scan to the files instead, where there are enough of them. `extractor` is what `prepare`
    uses, by which calls know each other that share the output.
    """
    if not isinstance(out, Output):
        out = guard_output(out, "segment", inputs=_read_by(cases), overwrite=overwrite, resume=resume)
    folder, settings = out.path, with_card(settings, groups)

    def segmented(todo: Iterable[Case]) -> Generator[tuple[Case, CaseResult]]:
        count = len(todo) if isinstance(todo, Sized) else len(cases)
        if whole is not None and whole.pays(count):
            with closing(whole.segmented(todo, count, folder, settings, shared=out.share)) as rows:
                yield from rows
            return
        with closing(prepare(todo)) as outcomes:
            for case, outcome in outcomes:
                yield case, finish_case(case, outcome, groups, folder, settings, shared=out.share)

    head = provenance(settings.model_dump(), [model.describe() for model in all_models(groups)])
    files = files_of(case.case_id for case in cases)
    if out.resume:
        check_resume(folder, head)  # before anything says that the segmentation is not finished
    scans = {} if settings.deidentify else remembered_inputs(folder, cases, resume=out.resume or out.share)
    if out.share:
        by = made_by(groups, extractor)
        return segment_together(SharedWork(cases, out, head, files, segmented, digest, unreadable, on_case, scans, by))
    with growing_folder(out, files, scans):
        return _segment_all(
            cases, segmented, digest, head, out, unreadable=unreadable, on_case=on_case, progress=progress
        )


def _read_by(cases: Sequence[Case]) -> list[Path | None]:
    """Every file that is read, for the guard of the output."""
    return [*(file for case in cases for file in case.files), *(case.zip_file for case in cases)]


def _segment_all(
    cases: Sequence[Case],
    segment: Callable[[Iterable[Case]], Generator[tuple[Case, CaseResult]]],
    digest: Callable[[Case], str],
    head: Mapping[str, Any],
    place: Output,
    *,
    unreadable: Sequence[CaseResult],
    on_case: OnCase | None,
    progress: ProgressCallback | None,
) -> list[CaseResult]:
    """Make or find every row, in a folder that is guarded."""
    out = place.path
    before = start_folder(out, head, resume=place.resume, overwrite=place.overwrite, say=place.say)
    finished = unchanged(out, cases, before, digest)
    table = ResultTable(out, head, [case.case_id for case in cases], finished)
    if len(finished) < len(before):
        table.save()  # no row is left of a case that is made again, should a kill come after its files
    _say_others(cases, finished, place)
    total = len(cases) + len(unreadable)
    results: list[CaseResult] = []
    try:
        with closing(segment([case for case in cases if case.case_id not in finished])) as made:
            rows = (finished.get(case.case_id) or next(made)[1] for case in cases)
            for result in chain(rows, unreadable):
                table.add(result)
                results.append(result)
                _report(result, len(results), total, on_case, progress)
    except BaseException:
        if is_still_there(out):
            table.save()
        raise
    check_still_there(out)
    table.finish()
    return results


def _say_others(cases: Sequence[Case], finished: Mapping[str, CaseResult], place: Output) -> None:
    """Say which rows the tables hold that are of no scan of this call."""
    others = sorted({*finished} - {case.case_id for case in cases})
    if others:
        place.say(f"{place.path}: holds {first_of(others)} of earlier calls, too; not looked at in this one")


def _report(
    result: CaseResult, done: int, total: int, on_case: OnCase | None, progress: ProgressCallback | None
) -> None:
    if on_case is not None:
        on_case(result)
    if progress is not None:
        progress(done, total, result.case)
