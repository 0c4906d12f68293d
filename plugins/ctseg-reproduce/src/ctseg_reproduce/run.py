"""Runs what is missing of a table and collects what is there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ctseg.cli.ending import INTERRUPTED, TERMINATED, Terminated
from ctseg.errors import CtsegError, InputError
from ctseg.files import write_json
from ctseg_reproduce.inputs import PHANTOM
from ctseg_reproduce.outcomes import OutcomeRecord, same_numbers, this_machine
from ctseg_reproduce.plan import DATA, LABELLED, LABELLED_TRAIN, Plan
from ctseg_reproduce.pool import LOGS, run_pool
from ctseg_reproduce.results import SUPERVISED, Outcome, read_slices, read_trained
from ctseg_reproduce.scales import Scale
from ctseg_reproduce.stages import (
    Stage,
    failure_of,
    in_order,
    is_done,
    read_table,
    run_stage,
    seconds_of,
    stage_lock,
)
from ctseg_reproduce.systems import AnyRow, LocationPrior, Row, get_rows
from ctseg_reproduce.table import Result

Execute = Callable[[Path], int]
ENDED_BY = {INTERRUPTED: KeyboardInterrupt, TERMINATED: Terminated}
"""Exit code of a command that a signal ended -> what ends the call that ran it, too."""
TRUE_VOLUME = "none: the true volume of each scan is given"
FILES = ("reproduce.json", "*.csv", "*.md", "*.html", "*.png", "imported/*.csv")
"""What `ctseg reproduce` writes in its folder beside the outputs of other commands."""


@dataclass(frozen=True)
class Request:
    """What a call of `ctseg reproduce` asks for."""

    root: Path
    table: str
    plan: Plan
    rows: tuple[AnyRow, ...]
    seeds: tuple[int, ...]
    imported: tuple[OutcomeRecord, ...] = ()
    """Outcomes made elsewhere."""
    jobs: int = 1
    """Stages made at once."""

    @property
    def stem(self) -> str:
        """Name of the table's files, without their endings."""
        return self.plan.scale.file_name(self.table)


def settled_plan(root: Path, plan: Plan) -> Plan:
    """The plan of a folder: with the device and precision of its first call, since others would run it again.

    Raises:
        InputError: if the folder was begun at another scale or with other data.
    """
    path = root / "reproduce.json"
    data = {"scale": plan.scale.name, "inputs": asdict(plan.inputs)}
    if not path.exists():
        write_json(path, {**data, "device": plan.device, "precision": plan.precision})
        return plan
    old = read_table(path)
    for key, value in data.items():
        if old.get(key) != value:
            raise InputError(f"{root}: was begun with another {key}; give another folder with -o")
    precision = str(old.get("precision", "auto"))  # folders of earlier versions do not name it
    return replace(plan, device=str(old.get("device", "auto")), precision=precision)


def mismatched(request: Request) -> int:
    """How many imported outcomes of this table's rows were made with other settings, and so stay out of it."""
    rows = get_rows(request.table)
    named = sum(item.row == row.name for item in request.imported for row in rows)
    return named - sum(_fits(request, item, row) for item in request.imported for row in rows)


def outvoted(request: Request, results: Sequence[Result]) -> list[str]:
    """Rows and seeds of which an import has other numbers than this folder's own run, which counts."""
    own = {(item.row, item.outcome.seed, item.key): item for result in results for item in result.records}
    keyed = ((own.get((item.row, item.outcome.seed, item.key)), item) for item in request.imported)
    return sorted(
        {f"{item.row}, seed {item.outcome.seed}" for made, item in keyed if made and not same_numbers(made, item)}
    )


def run_rows(request: Request, execute: Execute, say: Callable[[str], object] = str) -> dict[tuple[str, int], str]:
    """Run every stage that the rows need, each once; a row that fails does not stop the others.

    Returns:
        (row, seed) -> the stage that failed, for those that did not come through.

    Raises:
        InputError: if the data that all rows need could not be made.
        KeyboardInterrupt: if a command was interrupted.
        Terminated: if SIGTERM ended a command.
    """
    if request.jobs > 1:
        return _run_at_once(request, say)
    broken: dict[str, str] = {}
    failed: dict[tuple[str, int], str] = {}
    for seed in request.seeds:
        for row in request.rows:
            if seed in _imported(request, row):
                continue
            last = request.plan.row(row, seed)
            for stage in in_order([last]):
                _run(request.root, stage, broken, execute, say)
            if last.folder in broken:
                failed[(row.name, seed)] = broken[last.folder]
    return failed


def _run_at_once(request: Request, say: Callable[[str], object]) -> dict[tuple[str, int], str]:
    """As `run_rows`, several stages at once; a row of all seeds comes before the next row."""
    wanted = {
        (row.name, seed): request.plan.row(row, seed)
        for row in request.rows
        for seed in request.seeds
        if seed not in _imported(request, row)
    }
    broken = run_pool(request.root, wanted.values(), jobs=request.jobs, say=say)
    made = next((folder for folder in broken if folder.split("/")[0] == DATA), None)
    if made is not None:
        raise InputError(f"{request.root / made}: the data could not be made; see {request.root / LOGS} and call again")
    return {
        key: _why(request.root, stage, broken[stage.folder], f"; see {LOGS}/")
        for key, stage in wanted.items()
        if stage.folder in broken
    }


def make_label_sets(
    request: Request, execute: Execute, say: Callable[[str], object] = str, seed: int = 0
) -> dict[str, Path]:
    """Make the labelled CT sets that the label-free rules are measured on, those of the seed's cohort.

    Returns:
        `train`: the target's patients, whose labels no run sees, where there are any; `test`: held-out patients.

    Raises:
        InputError: if one could not be made.
    """
    plan = request.plan
    wanted = {"test": (plan.labelled(seed), plan.set_path(LABELLED, seed))}
    if plan.inputs.train:
        wanted = {"train": (plan.labelled_train(seed), plan.set_path(LABELLED_TRAIN, seed)), **wanted}
    broken: dict[str, str] = {}
    for stage, _ in wanted.values():
        _run(request.root, stage, broken, execute, say)
    if broken:
        raise InputError(f"{request.root}: {next(iter(broken.values()))}; correct what is named above and call again")
    return {name: request.root / path for name, (_, path) in wanted.items()}


def finished_runs(request: Request) -> dict[tuple[str, int], Path]:
    """(row, seed) -> run folder, for the rows asked for and every seed that is done."""
    found = {}
    for row in request.rows:
        for seed in _seeds(request, row):
            stage = request.plan.row(row, seed)
            if is_done(request.root, stage):
                found[row.name, seed] = request.root / stage.folder / "run"
    return found


def _run(root: Path, stage: Stage, broken: dict[str, str], execute: Execute, say: Callable[[str], object]) -> None:
    """Run a stage unless it is done or something it needs is broken; wait where another call is at it."""
    cause = next((broken[item.folder] for item in stage.needs if item.folder in broken), None)
    if cause is not None:
        broken[stage.folder] = cause
    if stage.folder in broken or is_done(root, stage):
        return
    with stage_lock(root, stage, say):
        if is_done(root, stage):
            return
        say(f"== {stage.folder}")
        code = run_stage(root, stage, execute)
    if code in ENDED_BY:
        raise ENDED_BY[code]
    if code >= 2:
        if stage.folder.split("/")[0] == DATA:
            raise InputError(
                f"{root / stage.folder}: the data could not be made; correct what is named above and call again"
            )
        broken[stage.folder] = _why(root, stage, code)


def _why(root: Path, stage: Stage, code: int, more: str = "") -> str:
    """The stored reason why a stage failed, else its exit code."""
    return failure_of(root, stage) or f"{stage.folder} ended with {code}{more}"


def collect(request: Request, failed: dict[tuple[str, int], str]) -> list[Result]:
    """What is known of each row of the table, by this call and by earlier ones, in the paper's order."""
    return [_collect(request, row, failed) for row in get_rows(request.table)]


def _collect(request: Request, row: AnyRow, failed: dict[tuple[str, int], str]) -> Result:
    found, imported = dict[int, OutcomeRecord](), _imported(request, row)
    reasons = []
    for seed in _seeds(request, row):
        record, reason = _look(request, row, seed, failed.get((row.name, seed), ""))
        if record is not None:
            found[seed] = record
        elif reason and (seed not in imported or (row.name, seed) in failed):
            reasons.append(f"seed {seed}: {reason}")
    found = imported | found
    records = tuple(found[seed] for seed in sorted(found))
    seeds = sorted(found) or list(request.seeds)
    outcomes, seconds = tuple(item.outcome for item in records), sum(item.seconds for item in records)
    return Result(row, outcomes, seconds, command_of(request, seeds, row), tuple(reasons), records)


def _look(request: Request, row: AnyRow, seed: int, reason: str) -> tuple[OutcomeRecord | None, str]:
    """A seed's outcome in this folder, or why there is none: this call's reason, or that of an earlier one."""
    stage = request.plan.row(row, seed)
    if reason or not is_done(request.root, stage):
        return None, reason or failure_of(request.root, stage)
    try:
        outcome, seconds = _read(request, row, stage, seed), seconds_of(request.root, stage)
    except CtsegError as error:
        return None, str(error)
    return OutcomeRecord(row.name, stage.key, seconds, this_machine(), outcome), ""


def _seeds(request: Request, row: AnyRow) -> list[int]:
    """Asked for now, or done earlier; none where the data do not allow the row."""
    return sorted({*request.seeds, *_seeds_on_disk(request, row)}) if request.plan.can_run(row) else []


def _imported(request: Request, row: AnyRow) -> dict[int, OutcomeRecord]:
    """Outcomes of this row made elsewhere, by seed, if they were made with the very settings of this table."""
    return {item.outcome.seed: item for item in request.imported if _fits(request, item, row)}


def _fits(request: Request, item: OutcomeRecord, row: AnyRow) -> bool:
    plan = request.plan
    return item.row == row.name and plan.can_run(row) and item.key == plan.row(row, item.outcome.seed).key


def _seeds_on_disk(request: Request, row: AnyRow) -> list[int]:
    folder = (request.root / request.plan.row_folder(row, 0)).parent
    names = (path.name.removeprefix("seed-") for path in folder.glob("seed-*"))
    return [int(name) for name in names if name.isdigit()]


def _read(request: Request, row: AnyRow, stage: Stage, seed: int) -> Outcome:
    root, plan = request.root, request.plan
    if isinstance(row, Row):
        found = read_trained(root / stage.folder, seed)
    else:
        selection = TRUE_VOLUME if isinstance(row, LocationPrior) else SUPERVISED
        found = read_slices(root / stage.folder, root / plan.set_path(LABELLED, seed), seed, selection)
    return replace(found, cohort=plan.cohort(seed))


def command_of(request: Request, seeds: Sequence[int], row: AnyRow | None = None) -> str:
    """The call that makes a row of these seeds, or all rows that were asked for."""
    inputs = request.plan.inputs
    words = ["ctseg", "reproduce", request.table, "--scale", request.plan.scale.name]
    words += ["--preset", request.plan.scale.variant] if request.plan.scale.variant else []
    words += ["--window", request.plan.scale.window] if request.plan.scale.window else []
    words += _row_words(request, row)
    words += _seed_words(seeds)
    if inputs != PHANTOM:
        for flag, path in (("src", inputs.source), ("tgt", inputs.target), ("test", inputs.test)):
            words += [f"--{flag}", path]
        words += ["--truth", inputs.truth]
        words += ["--train", inputs.train, "--train-truth", inputs.train_truth] if inputs.train else []
    plan = request.plan
    words += ["--device", plan.device] if plan.device != "auto" else []
    words += ["--precision", plan.precision] if plan.precision != "auto" else []
    return shlex.join([*words, "-o", str(request.root)])


def _row_words(request: Request, row: AnyRow | None) -> list[str]:
    """Nothing where all rows of the table are asked for."""
    chosen = request.rows if len(request.rows) < len(get_rows(request.table)) else ()
    return [word for item in ((row,) if row else chosen) for word in ("--rows", item.name)]


def _seed_words(seeds: Sequence[int]) -> list[str]:
    counted = list(seeds) == list(range(len(seeds)))
    return ["--seeds", str(len(seeds))] if counted else [word for seed in seeds for word in ("--seed", str(seed))]


def scale_line(scale: Scale) -> str:
    """What a call says first."""
    said = f"scale {scale.name!r}: {scale.summary}; preset {scale.preset!r} (docs/decisions/0004-default-preset.md)"
    return f"{said}; CT from {scale.window} HU" if scale.window else said
