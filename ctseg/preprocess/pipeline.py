"""A cohort becomes a slice set: cases in parallel, written in case order, one bad case never stops the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ctseg.errors import InputError, SettingError
from ctseg.io.case import Case, Discovery
from ctseg.io.identity import patient_of_file, patient_rule, pseudonym, same_spelling
from ctseg.io.private import without_paths
from ctseg.io.rsna_labels import read_labels
from ctseg.io.slice_writer import SliceWriter
from ctseg.io.slices import assign_splits
from ctseg.parallel import Failure, ordered_map
from ctseg.plugins.called import made_by
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.cases import CaseSlices, CaseTask, process_case
from ctseg.preprocess.ct import window_map
from ctseg.preprocess.labels import check_label, lesion_labels, read_splits
from ctseg.preprocess.masks import given_masks
from ctseg.preprocess.page import set_page
from ctseg.preprocess.preview import Preview
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.progress import ProgressCallback
from ctseg.wording import first_of

Outcome = CaseSlices | Failure


@dataclass
class PreprocessReport:
    """What became of a cohort."""

    domain: str
    cases: int = 0
    """Cases that gave at least one slice."""
    slices: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(case_id, reason) of every case that could not be read or prepared."""
    tracebacks: dict[str, str] = field(default_factory=dict)
    """case_id -> traceback of the failures that are defects of ctseg or of a plugin, not of the input."""
    empty: list[str] = field(default_factory=list)
    """Cases whose slices were all left out by `slices`, `select` or `min_brain_mm2`."""
    rejected: list[tuple[str, str]] = field(default_factory=list)
    """(path or series, reason) of what was found but is no scan."""
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """case_id -> what the reader or the brain extractor noticed and corrected."""
    label_notes: tuple[str, ...] = ()
    """What to tell a person about the table of labels."""
    inputs: dict[str, str] = field(default_factory=dict)
    """case_id -> digest of what it was made from."""
    label_values: dict[int, int] = field(default_factory=dict)
    """Label value -> scans that hold it, values ascending."""
    labelled: bool = False
    """Whether the scans come with lesion labels."""
    lesion_labels: tuple[int, ...] = ()
    """The values among them that count as lesion."""
    patient_rule: str = ""
    """One sentence: by which rule scans belong to patients."""


def preprocess(
    discovery: Discovery,
    out: Path,
    settings: PreprocessSettings,
    *,
    extractor: BrainExtractor | None = None,
    domain: str = "auto",
    labels: Path | None = None,
    splits: Path | None = None,
    masks: Path | None = None,
    workers: int = 0,
    executor: Executor | None = None,
    progress: ProgressCallback | None = None,
) -> PreprocessReport:
    """Fill the folder `out` (from `ctseg.files.new_folder`) with the slice set of a cohort.

    Args:
        discovery: what `ctseg.io.discover.discover` found.
        out: an existing, empty folder.
        settings: what to make.
        extractor: CT volume -> brain mask; not needed for MR.
        domain: 'mr', 'ct', or 'auto' where all cases are of one.
        labels: csv of slice labels by SOPInstanceUID, see `ctseg.io.rsna_labels.read_labels`.
        splits: csv `patient_id,split` to use instead of drawing splits.
        masks: folder of lesion masks `CASE.nii.gz`, `CASE.seg.nrrd`, ... on the scans' own grids, see `with_mask`.
        workers: processes; 0 or 1 works in this one. The result does not depend on it.
        executor: any `concurrent.futures.Executor` to use instead, such as Dask's.
        progress: called with (done, total, case_id).

    Raises:
        InputError: if no slice is left, domains are mixed, or labels or splits do not fit; drop `out` then.
    """
    made = plan(
        discovery, settings, extractor=extractor, domain=domain, labels=labels, splits=splits, masks=masks
    )  # fmt: skip
    with closing(outcomes_of(made, made.cases, min(workers, len(made.cases)), executor)) as outcomes:
        return write_set(made, out, outcomes, progress)


@dataclass(frozen=True)
class Plan:
    """A cohort that is checked as a whole, before any scan is read."""

    domain: str
    cases: list[Case]
    task: CaseTask
    """Without slice labels."""
    labels: pd.DataFrame | None
    """Of all slices."""
    patients: dict[str, str]
    """Case -> patient."""
    split_of: dict[str, str]
    """Patient -> split."""
    report: PreprocessReport
    """What is known before any scan is read."""
    masks: Mapping[str, Path] = field(default_factory=dict)
    """Case -> file of its lesion mask."""


def plan(
    discovery: Discovery,
    settings: PreprocessSettings,
    *,
    extractor: BrainExtractor | None = None,
    domain: str = "auto",
    labels: Path | None = None,
    splits: Path | None = None,
    masks: Path | None = None,
) -> Plan:
    """Check a cohort; arguments and errors as of `preprocess`."""
    domain, cases = _one_domain(discovery.cases, domain)
    found = read_labels(labels) if labels is not None else None
    table = None if found is None else found.table
    check_label(table, settings.select, labels)
    task = _task(cases, domain, masks, settings, extractor)
    given, spare = given_masks(masks, cases)
    patients, rule = case_patients(cases)
    split_of = _splits(patients, settings, splits)
    rejected = [(item.path_or_series, item.reason) for item in (*discovery.rejected, *spare)]
    report = PreprocessReport(domain, rejected=rejected)
    report.label_notes, report.patient_rule = () if found is None else found.notes, rule
    return Plan(domain, cases, task, table, patients, split_of, report, given)


def write_set(
    made: Plan, out: Path, outcomes: Iterable[tuple[Case, Outcome]], progress: ProgressCallback | None = None
) -> PreprocessReport:
    """Fill the folder `out` from what became of each case of a plan, in the plan's order.

    Raises:
        InputError: if no slice is left.
    """
    report, settings, domain = made.report, made.task.settings, made.domain
    writer, preview = SliceWriter(out, domain, (settings.size, settings.size), labelled=made.task.has_masks), Preview()
    for done, (case, outcome) in enumerate(outcomes, start=1):
        if _record(report, case, outcome) and isinstance(outcome, CaseSlices):
            patient = made.patients[case.case_id]
            rows = outcome.table.assign(patient_id=patient, split=made.split_of[patient])
            writer.add(outcome.images, outcome.masks, rows)
            preview.add(outcome)
        if progress is not None:
            progress(done, len(made.cases), case.case_id)
    if not report.slices:
        raise InputError(_nothing_left(report, settings))
    report.labelled = made.task.labelled
    report.label_values = dict(sorted(report.label_values.items()))
    report.lesion_labels = lesion_labels(report.label_values, settings)
    made_with, by = settings.model_dump(mode="json"), made_by(made.task.extractor if domain == "ct" else None)
    writer.close(intensity=_intensity(domain, settings), settings=made_with, extra=_extra(report) | by)
    preview.save(out / "preview.png")
    splits = Counter(made.split_of[patient] for patient in {made.patients[case] for case in report.inputs})
    set_page(report, out / "preview.png", splits, settings).write(out / "report.html")
    return report


def _task(
    cases: Sequence[Case],
    domain: str,
    masks: Path | None,
    settings: PreprocessSettings,
    extractor: BrainExtractor | None,
) -> CaseTask:
    """What workers need: lesions come from a folder of masks, from beside the scans, or are implanted.

    Raises:
        SettingError: if haematomas are to be implanted into MR.
    """
    if settings.implants and domain != "ct":
        raise SettingError("implants: haematomas are for CT, and these scans are MR; leave --set implants out")
    if masks is not None:
        return CaseTask(settings, extractor, labelled=True, masks=masks)
    return CaseTask(settings, extractor, labelled=any(case.label_file is not None for case in cases))


def _one_domain(cases: Sequence[Case], domain: str) -> tuple[str, list[Case]]:
    """The cases of one domain."""
    kinds = {case.domain for case in cases}
    if domain == "auto":
        if len(kinds) > 1:
            raise InputError(
                "the input holds both MR and CT; a slice set has one of them: add --domain mr or --domain ct"
            )
        domain = kinds.pop() if kinds else "auto"
    _refuse_guesses(cases)
    chosen = [case for case in cases if case.domain == domain]
    if not chosen:
        raise InputError(f"the input holds no {domain.upper() if domain != 'auto' else 'MR or CT'} scan")
    return domain, chosen


def _refuse_guesses(cases: Sequence[Case]) -> None:
    """Scans without labels are of no use as MR, so they are not taken for it on no evidence.

    Raises:
        InputError: naming the first scan that may be CT as well.
    """
    unsure = [case for case in cases if case.is_guess and case.label_file is None]
    if unsure:
        raise InputError(
            f"{first_of([case.files[0] for case in unsure])}: MR or CT? neither name nor voxels tell; "
            "add --domain ct or --domain mr"
        )


def case_patients(cases: Sequence[Case]) -> tuple[dict[str, str], str]:
    """Case -> patient, and a sentence that says by which rule.

    Of DICOM it is the PatientID. Of other files it is what the case's name or its folders tell by a known convention
    (`ctseg.io.identity`); where nothing does, a case is a patient of its own.
    """
    patients, rules = dict[str, str](), list[str | None]()
    for case in cases:
        found = None if case.kind == "dicom" else patient_of_file(case.files[0], case.case_id)
        patients[case.case_id] = case.patient_id if found is None else found[1]
        if case.kind != "dicom":
            rules.append(found and found[0])
    blank = sum(case.kind == "dicom" and case.patient_id == pseudonym("") for case in cases)
    notes = [patient_rule(rules, "--splits")] if rules else ["patients from the DICOM PatientID"]
    if blank > 1:
        notes.append(f"{blank} scans have an empty PatientID and count as one patient")
    return same_spelling(patients), "; ".join(notes)


def _splits(patients: Mapping[str, str], settings: PreprocessSettings, path: Path | None) -> dict[str, str]:
    """Patient -> split, drawn or from a table, which may name patients or their scans."""
    wanted = set(patients.values())
    if path is None:
        return assign_splits(sorted(wanted), settings.fractions(), settings.seed)
    split_of = read_splits(path, patients)
    missing = sorted(wanted - set(split_of))
    if missing:
        raise InputError(f"{path}: has no split for {len(missing)} patients (first: {missing[0]})")
    return split_of


def outcomes_of(
    made: Plan, cases: Iterable[Case], workers: int, executor: Executor | None
) -> Generator[tuple[Case, Outcome]]:
    """Results in the order of `cases`, to be taken in `with closing(...)`; `workers=1` works in this process."""
    jobs = ((case, _task_of(case, made)) for case in cases)
    with closing(ordered_map(_process, jobs, workers=workers if workers > 1 else 0, executor=executor)) as outcomes:
        for (case, _), outcome in outcomes:
            yield case, outcome


def _process(job: tuple[Case, CaseTask]) -> CaseSlices:
    return process_case(*job)


def _task_of(case: Case, made: Plan) -> CaseTask:
    """The task with the mask and the labels of one case only, so that workers are not sent the whole table.

    RSNA names its files by SOPInstanceUID; where file names do not tell, the whole table goes along.
    """
    task = replace(made.task, mask=made.masks.get(case.case_id))
    if made.labels is None:
        return task
    own = made.labels.index.intersection([path.stem for path in case.files])
    return replace(task, labels=made.labels.loc[own] if len(own) else made.labels)


def _record(report: PreprocessReport, case: Case, outcome: Outcome) -> bool:
    """Enter an outcome in the report; whether it has slices to write."""
    if isinstance(outcome, Failure):
        error = without_paths(outcome.error, case)
        report.failed.append((case.case_id, f"{case.case_id}: unexpected {error}" if outcome.traceback else error))
        if outcome.traceback:
            report.tracebacks[case.case_id] = outcome.traceback
        return False
    if outcome.notes:
        report.notes[case.case_id] = outcome.notes
    for value in outcome.label_values:
        report.label_values[value] = report.label_values.get(value, 0) + 1
    if not len(outcome.images):
        report.empty.append(case.case_id)
        return False
    report.cases += 1
    report.inputs[case.case_id] = outcome.digest
    report.slices += len(outcome.images)
    return True


def _nothing_left(report: PreprocessReport, settings: PreprocessSettings) -> str:
    if report.failed and not report.empty:
        return f"none of the {len(report.failed)} cases could be used; first: {report.failed[0][1]}"
    if settings.select is not None:
        return (
            f"no slice has the label {settings.select}; do the IDs in --labels match the SOPInstanceUIDs of the scans?"
        )
    return "no slice is left; check --slices and min_brain_mm2"


def _intensity(domain: str, settings: PreprocessSettings) -> dict[str, Any]:
    if domain == "mr":
        return {"a": None, "b": None, "unit": "scanner units; a and b by case in slices.csv"}
    slope, offset = window_map(settings.window)
    return {"a": slope, "b": offset, "unit": "HU"}


def _extra(report: PreprocessReport) -> dict[str, Any]:
    return {
        "cases": report.cases,
        "failed": [{"case_id": case, "reason": reason} for case, reason in report.failed],
        "empty": report.empty,
        "notes": {case: list(notes) for case, notes in report.notes.items()},
        "label_notes": list(report.label_notes),
        "patient_rule": report.patient_rule,
        "label_values": {str(value): scans for value, scans in report.label_values.items()},
        "lesion_labels": list(report.lesion_labels),
        "inputs": report.inputs,
    }
