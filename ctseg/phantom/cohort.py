"""The phantom cohort: case mix, patients in parallel, the files that belong to the whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from ctseg.errors import CaseError, InputError
from ctseg.failures import error_number
from ctseg.files import write_json, write_text
from ctseg.harmless import csv_text
from ctseg.locks import still_there
from ctseg.parallel import Failure, ordered_map
from ctseg.phantom.bleeds import KINDS, Findings
from ctseg.phantom.msd import MrCase, make_mr_case, write_dataset_json
from ctseg.phantom.rsna import CtCase, make_ct_case
from ctseg.phantom.settings import PhantomSettings
from ctseg.progress import ProgressCallback
from ctseg.scheduler import worker_name

TEST_MIX: tuple[Findings, ...] = (
    Findings(iph=True, severe=True),
    Findings(iph=True, ivh=True, severe=True),
    Findings(),
    Findings(iph=True, sah=True, sdh=True, trauma=True, severe=True),
    Findings(iph=True, ivh=True, severe=True),
    Findings(),
    Findings(iph=True, ivh=True, sah=True, severe=True),
    Findings(iph=True, sdh=True, trauma=True, severe=True),
    Findings(),
    Findings(iph=True, sah=True, edh=True, trauma=True, severe=True),
    Findings(iph=True, ivh=True, sah=True, sdh=True, trauma=True, severe=True),
    Findings(),
)
"""Findings of test patients, repeated for larger cohorts; a third of the patients have no bleed.

By slices this is close to the paper's Table 1: a third with IPH, IVH 8 %, SAH 12 %, SDH 8 %, EDH under 1 %, 54 % with
nothing. That many IPH slices need the larger bleeds of the distribution: an average patient's IPH spans five.
"""
TRAIN_MIX: tuple[Findings, ...] = (
    Findings(iph=True),
    Findings(iph=True, ivh=True),
    Findings(),
    Findings(iph=True, sah=True, trauma=True),
    Findings(iph=True, ivh=True, sah=True),
    Findings(sah=True, sdh=True),
    Findings(iph=True),
    Findings(),
    Findings(iph=True, sah=True, sdh=True, trauma=True),
    Findings(),
    Findings(iph=True, ivh=True),
    Findings(),
)
"""The same for training patients: patients of an emergency department, bleeds of every size.

Combinations are the frequent ones of BHSD; 41 % of the scans of RSNA 2019 show a bleed (Flanders et al., Radiol Artif
Intell 2020), here 67 %, so that IPH slices do not run out.
"""
DOMAINS = {"mr": 1, "stage_2_train": 2, "stage_2_test": 3}
"""Part of every seed, so that no brain occurs in two domains or splits."""
REFUSED = "refused"
PARTIAL = ".partial"
"""Folder of patients that are not whole yet."""


@dataclass(frozen=True)
class Job:
    """One patient to make."""

    folder: Path
    case: MrCase | CtCase

    @property
    def name(self) -> str:
        """Unique within the cohort."""
        return f"{'mr' if isinstance(self.case, MrCase) else self.case.split}-{self.case.index}"

    def run(self) -> dict[str, Any]:
        """Make the patient's files, all or none of them.

        Returns:
            What the summary needs; where the disk refuses a file, `{REFUSED: number}` of the system's error, which
            an exception would not bring out of a worker.
        """
        try:
            return self._made()
        except Exception as error:
            number = error_number(error)
            if number is None:
                raise
            return {REFUSED: number}

    def _made(self) -> dict[str, Any]:
        if not self.folder.is_dir():
            raise CaseError(
                f"{self.folder}: no such folder on the worker's machine {worker_name()}; workers need the same disk "
                "under the same path"
            )
        part = self.folder / PARTIAL / self.name
        with self._begun() as is_there:
            shutil.rmtree(part, ignore_errors=True)  # of a run that was stopped when another worker was killed
            mr = isinstance(self.case, MrCase)
            try:
                result = make_mr_case(part, self.case) if mr else make_ct_case(part, self.case)  # type: ignore[arg-type]
            finally:
                if not is_there():
                    self._forget(part)
        for path in [path for path in sorted(part.rglob("*")) if path.is_file()]:
            target = self.folder / path.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        return result

    @contextmanager
    def _begun(self) -> Iterator[Callable[[], bool]]:
        """Tells in the block whether the cohort's folder is the one that it was, and not one that was made since.

        While it is open, no other folder gets its number.
        """
        if os.name == "nt":  # no folder can be opened there
            yield self.folder.is_dir
            return
        handle = os.open(self.folder, os.O_RDONLY)

        def is_there() -> bool:
            try:
                return still_there(handle, self.folder)
            except OSError:  # a network disk's handle is stale
                return False

        try:
            yield is_there
        finally:
            os.close(handle)

    def _forget(self, part: Path) -> None:
        """Remove what was made after the call had ended, and its folder was gone: a cluster's worker goes on.

        Raises:
            CaseError: always.
        """
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):  # holds what others made, or is gone
            part.parent.rmdir()
            self.folder.rmdir()
        raise CaseError(f"{self.folder}: was removed while {self.name} was made; call again")


def make_cohort(
    folder: Path,
    settings: PhantomSettings,
    *,
    workers: int = 2,
    executor: Executor | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Fill `folder` with a cohort: `Task01_BrainTumour/`, `rsna/`, `truth/`, `phantom.json`.

    Args:
        folder: an existing folder, usually the one of `ctseg.files.new_folder`.
        settings: size and seed.
        workers: processes; 0 makes everything in this one. The files do not depend on it.
        executor: used instead of own processes; its workers write to `folder`, so they have to see the same disk.
        progress: called with (patients done, patients in all, what was done).

    Returns:
        Counts, as written to `phantom.json`, and as `failed` the patients that could not be made, with the reason.

    Raises:
        InputError: if no patient could be made.
        OSError: if the disk refuses a file: no other patient could be written either.
    """
    folder = Path(folder)
    jobs = _jobs(folder, settings)
    results, failed = _run_all(jobs, workers, executor, progress)
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    jobs = [job for job in jobs if job.name not in failed]
    if not jobs:
        raise InputError(f"{folder}: no patient could be made; first: {next(iter(failed.values()))}")
    by_split: dict[str, list[dict[str, Any]]] = {name: [] for name in DOMAINS}
    for job, result in zip(jobs, results, strict=True):
        by_split["mr" if isinstance(job.case, MrCase) else job.case.split].append(result)
    write_dataset_json(folder, [job.case.name for job in jobs if isinstance(job.case, MrCase)])
    _write_tables(folder, by_split)
    counts = _counts(by_split) | ({"failed": failed} if failed else {})
    write_json(folder / "phantom.json", _description(settings, counts))
    return counts


def _jobs(folder: Path, settings: PhantomSettings) -> list[Job]:
    """Every patient, CT before MR."""
    sizes = {"stage_2_train": settings.ct_train_patients, "stage_2_test": settings.ct_test_patients}
    jobs: list[Job] = []
    for split, count in sizes.items():
        mix = TRAIN_MIX if split == "stage_2_train" else TEST_MIX
        for index in range(count):
            seed = (settings.seed, DOMAINS[split], index)
            size = settings.ct_matrix, settings.ct_slice_step_mm
            jobs.append(Job(folder, CtCase(index, split, mix[index % len(mix)], *size, seed, orders(mix, index))))
    grid = settings.mr_matrix, settings.mr_slices
    mr = [MrCase(index, *grid, (settings.seed, DOMAINS["mr"], index)) for index in range(settings.mr_patients)]
    return jobs + [Job(folder, case) for case in mr]


def _run_all(
    jobs: list[Job], workers: int, executor: Executor | None, progress: ProgressCallback | None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Results in the order of `jobs`, without those that failed, and name -> reason of these.

    They are made evenly mixed, so that the pace of the first says how long the rest will take.
    """
    results: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    work = _run_single_threaded if workers or executor is not None else Job.run
    with closing(ordered_map(work, mixed(jobs), workers=min(workers, len(jobs)), executor=executor)) as outcomes:
        for done, (job, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Failure):
                failed[job.name] = outcome.error
            elif REFUSED in outcome:
                raise OSError(outcome[REFUSED], os.strerror(outcome[REFUSED]), str(job.folder))
            else:
                results[job.name] = outcome
            if progress is not None:
                progress(done, len(jobs), "patients")
    return [results[job.name] for job in jobs if job.name in results], failed


def mixed(jobs: Sequence[Job]) -> list[Job]:
    """The jobs in an order in which any stretch holds CT and MR in the proportion of all."""
    ct = [job for job in jobs if not isinstance(job.case, MrCase)]
    mr = [job for job in jobs if isinstance(job.case, MrCase)]
    placed = [((index + 0.5) / len(kind), job) for kind in (ct, mr) for index, job in enumerate(kind)]
    return [job for _, job in sorted(placed, key=itemgetter(0))]


def orders(mix: tuple[Findings, ...], index: int) -> tuple[int, ...]:
    """How many patients before number `index` show each kind of bleed, when the mix is repeated."""
    rounds, place = divmod(index, len(mix))
    return tuple(
        rounds * sum(kind in findings.kinds for findings in mix) + sum(kind in f.kinds for f in mix[:place])
        for kind in KINDS
    )


def _run_single_threaded(job: Job) -> dict[str, Any]:
    """One thread a worker: the workers are the parallelism."""
    import torch

    torch.set_num_threads(1)
    return job.run()


def _write_tables(folder: Path, results: dict[str, list[dict[str, Any]]]) -> None:
    """Slice labels of both splits (those of the test split only under truth) and the table of CT cases."""
    for folder_of, split in ((folder / "rsna", "stage_2_train"), (folder / "truth", "stage_2_test")):
        rows = sorted(row for result in results[split] for row in result["labels"])
        _write_csv(folder_of / f"{split}.csv", ["ID", "Label"], rows)
    cases = [result["case"] for split in ("stage_2_train", "stage_2_test") for result in results[split]]
    _write_csv(
        folder / "truth" / "cases.csv", list(cases[0]) if cases else ["case"], [tuple(case.values()) for case in cases]
    )


def _write_csv(path: Path, header: list[str], rows: list[tuple[Any, ...]]) -> None:
    write_text(path, csv_text(header, (dict(zip(header, row, strict=True)) for row in rows)))


def _counts(results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Patients, slices and slices by finding."""
    counts: dict[str, Any] = {
        "mr_patients": len(results["mr"]),
        "mr_tumour_slices": sum(r["slices"] for r in results["mr"]),
    }
    for split in ("stage_2_train", "stage_2_test"):
        cases = [result["case"] for result in results[split]]
        counts[split] = {"patients": len(cases)} | {
            key: sum(case[key] for case in cases) for key in (cases[0] if cases else {}) if key.endswith("slices")
        }
    return counts


def _description(settings: PhantomSettings, counts: dict[str, Any]) -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        made_by = f"ctseg {version('ctseg')}"
    except PackageNotFoundError:
        made_by = "ctseg"
    return {
        "schema": "ctseg-phantom/1",
        "tool": made_by,
        "settings": settings.model_dump(),
        "counts": counts,
        "sources": "Simulated, no patient data; brain: ICBM 152 2009a (Fonov et al. 2011); see docs/phantom.md",
    }
