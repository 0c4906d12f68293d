"""Masks against a reference: one row a case, a summary with intervals, a report."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ctseg.arguments import a_path, callback, check_executor, of_kind, several, some_paths, whole_number
from ctseg.errors import InputError
from ctseg.evaluation.cases import Matching, match_cases, matching_digests
from ctseg.evaluation.comparison import compare_models
from ctseg.evaluation.detection import by_subtype, case_labels, read_subtypes
from ctseg.evaluation.made_by import edited_notes, made_by
from ctseg.evaluation.report import write_report
from ctseg.evaluation.roles import check_roles, same_notes
from ctseg.evaluation.scans import Scans, with_scans
from ctseg.evaluation.score import MISSING, Score
from ctseg.evaluation.scoring import score_all
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.summary import EMPTY_RULES, summarise
from ctseg.evaluation.uncertainty import read_uncertainty, summarise_uncertainty
from ctseg.evaluation.volume_bins import volume_bins
from ctseg.files import write_csv, write_json
from ctseg.io.mask_files import about_unread
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.registry import Metric
from ctseg.outputs import filled_folder
from ctseg.progress import ProgressCallback
from ctseg.version import __version__
from ctseg.wording import counted, first_of, label_values

SCHEMA = "ctseg-evaluation/1"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; the same is in the files of `out`."""

    cases: pd.DataFrame
    """One row a model and case: status ('ok' or 'failed'), message and one column a metric."""
    summary: dict[str, Any]
    """What summary.json holds."""
    failed: tuple[str, ...]
    """`model: case: reason` of every case without metrics; not empty means exit code 1."""
    notes: tuple[str, ...]
    """What to report to a person: masks without a partner, and by which rule cases belong to patients."""
    out: Path


def evaluate(
    pred: Path | Sequence[Path],
    ref: Path,
    out: Path,
    *,
    settings: EvaluationSettings | None = None,
    labels: Path | None = None,
    group: Path | None = None,
    cases: Path | None = None,
    images: Path | Sequence[Path] | None = None,
    metrics: Sequence[Metric] = METRICS,
    workers: int = 0,
    overwrite: bool = False,
    executor: Executor | None = None,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Measure predicted masks against references; write `cases.csv`, `summary.json` and `report.html` into `out`.

    Args:
        pred: a folder of masks, or several of them (models to compare, in this order).
        ref: the folder of reference masks of the same names, on the same grids; nothing is resampled.
        out: the folder to write; it is made, or it is empty.
        settings: tolerances, intervals, which label values count.
        labels: CSV of slice or case labels for detection by subtype (RSNA's stage_2_train.csv or a wide table).
        group: CSV `case,patient`.
        cases: CSV `case,ref,pred` instead of matching by name.
        images: the scans, for the report's pictures: whatever `ctseg segment` takes. Without it they are looked for
            where the segmentations read them. Two DICOM masks of one case are measured on the grid of such a scan.
        metrics: what is measured beside the built-in metrics, which always are.
        workers: processes that measure cases; 0 does everything here.
        overwrite: replace an earlier evaluation.
        executor: used instead of own processes, such as that of a Dask cluster.
        progress: called with (done, total, case) after each case.

    Raises:
        OutputExistsError: if `out` holds anything, unless it is an evaluation and `overwrite` is set.
        PluginError: if the name of a metric or of a section is taken.
        InputError: if nothing can be matched, `pred` and `ref` are likely swapped, a table is broken, or `out` is an
            input or holds one, or an argument is of another kind. A bad case is no error: see `Evaluation.failed`.
    """
    preds, ref, out = some_paths(pred, "evaluate: pred"), a_path(ref, "evaluate: ref"), a_path(out, "evaluate: out")
    if not preds:
        raise InputError("evaluate: pred: no folder of masks; give one or several")
    tables = {"labels": labels, "group": group, "cases": cases}
    labels, group, cases = (_table(path, f"evaluate: {name}") for name, path in tables.items())
    scans = [] if images is None else some_paths(images, "evaluate: images")
    settings = of_kind(EvaluationSettings() if settings is None else settings, EvaluationSettings, "evaluate: settings")
    metrics, workers = several(metrics, Metric, "evaluate: metrics"), whole_number(workers, "evaluate: workers", 0)
    of_kind(overwrite, bool, "evaluate: overwrite", "True or False")
    check_executor(executor, "evaluate: executor")
    callback(progress, "evaluate: progress")
    read = (*preds, ref, cases, group, labels, *scans)
    with filled_folder(out, "evaluate", inputs=read, overwrite=overwrite) as folder:
        found = _evaluate(
            preds, ref, folder, settings,
            labels=labels, group=group, cases=cases, images=scans, metrics=metrics, workers=workers,
            executor=executor, progress=progress,
        )  # fmt: skip
    return replace(found, out=out)


def _table(given: Any, what: str) -> Path | None:
    return None if given is None else a_path(given, what)


def _evaluate(
    preds: list[Path],
    ref: Path,
    out: Path,
    settings: EvaluationSettings,
    *,
    labels: Path | None,
    group: Path | None,
    cases: Path | None,
    images: Sequence[Path],
    metrics: Sequence[Metric],
    workers: int,
    executor: Executor | None,
    progress: ProgressCallback | None,
) -> Evaluation:
    """As `evaluate`, into a folder that is guarded."""
    measured = tuple({metric.name: metric for metric in (*METRICS, *metrics)}.values())
    for metric in measured:
        metric.check([item.name for item in measured])
    matching = match_cases(preds, ref, table=cases, group=group)
    role_notes = check_roles(matching)
    scans = Scans(matching, images, workers=workers)
    matching = with_scans(matching, scans)
    known_labels, label_notes = read_subtypes(labels) if labels else (None, [])
    scores = score_all(matching, settings, metrics=measured, workers=workers, executor=executor, progress=progress)
    table = cases_table(scores)
    summary = _summary(matching, scores, table, known_labels, settings, measured)
    summary["inputs"] = matching_digests(matching, {"cases": cases, "group": group, "labels": labels})
    notes = (
        *_notes(matching), *role_notes, *edited_notes(matching), *same_notes(summary["inputs"]),
        *_case_notes(scores), *_value_notes(scores, settings), *label_notes,
        *_label_notes(scores, known_labels, labels), *_scan_notes(matching, scans),
    )  # fmt: skip
    failed = tuple(f"{s.model}: {s.error}" for s in scores if s.error)
    _write(out, table, clean(summary))
    write_report(out / "report.html", table, summary, matching, settings, scans=scans, notes=notes)
    return Evaluation(table, clean(summary), failed, notes, out)


def cases_table(scores: Sequence[Score]) -> pd.DataFrame:
    """One row a model and case."""
    rows = [
        {
            "model": score.model,
            "case": score.case,
            "patient": score.patient,
            "status": "failed" if score.error else "ok",
            "message": score.error or score.note,
            **score.metrics,
        }
        for score in scores
    ]
    return pd.DataFrame(rows)


def _summary(
    matching: Matching,
    scores: list[Score],
    table: pd.DataFrame,
    labels: pd.DataFrame | None,
    settings: EvaluationSettings,
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    uncertainty, makers = read_uncertainty(matching), made_by(matching)
    return {
        "schema": SCHEMA,
        "tool": {"name": "ctseg", "version": __version__},
        "versions": versions(),
        "settings": settings.model_dump(mode="json"),
        "metrics": [metric.described() for metric in metrics],
        "rules": list(EMPTY_RULES),
        "patient_rule": matching.patient_rule,
        "references": len(matching.jobs),
        "predictions_without_reference": matching.unreferenced,
        "models": [
            _model(name, scores, table, labels, settings, uncertainty.get(name), metrics) | {"made_by": makers[name]}
            for name in matching.models
        ],
        "comparisons": compare_models(table, matching.models, settings) if "tp" in table else [],
    }


def _model(
    name: str,
    scores: list[Score],
    table: pd.DataFrame,
    labels: pd.DataFrame | None,
    settings: EvaluationSettings,
    uncertainty: pd.DataFrame | None,
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    rows = table[table["model"] == name]
    done = rows[rows["status"] == "ok"]
    lost = rows[rows["status"] == "failed"]
    result: dict[str, Any] = {"name": name, "failed": dict(zip(lost["case"], lost["message"], strict=True))}
    if done.empty:
        return {**result, "cases": 0}
    result |= summarise(done, settings, metrics)
    if labels is not None:
        own = [score for score in scores if score.model == name and not score.error]
        result["subtypes"] = [row for by in ("case", "slice") for row in by_subtype(own, labels, by, settings)]
    if uncertainty is not None:
        result["uncertainty"] = summarise_uncertainty(done, uncertainty, settings)
    return {**result, **_volume_bins(done)}


def _volume_bins(done: pd.DataFrame) -> dict[str, Any]:
    """For a model card; nothing where there are too few cases."""
    bins = volume_bins(done)
    return {"volume_bins": [item.model_dump(mode="json") for item in bins]} if bins else {}


def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "pandas", "nibabel")},
    }


def _notes(matching: Matching) -> tuple[str, ...]:
    notes = [matching.patient_rule]
    for model, names in matching.unreferenced.items():
        if names:
            notes.append(
                f"{model}: {counted(len(names), 'prediction')} without a reference left out: {first_of(names, 3)}"
            )
    return (*notes, *matching.elsewhere, *(f"{who}: {about_unread(files)}" for who, files in matching.unread))


def _case_notes(scores: Sequence[Score]) -> list[str]:
    """What is to be known about how cases were measured, and of how many.

    References without a prediction are scored with an empty one.
    """
    others = Counter((score.model, score.note) for score in scores if score.note and score.note != MISSING)
    counts = Counter(score.model for score in scores if score.note == MISSING)
    said = [f"{model}: {counted(count, 'case')}: {note}" for (model, note), count in others.items()]
    return said + [
        f"{model}: {counted(count, 'reference')} without a prediction scored as empty"
        for model, count in counts.items()
    ]


def _value_notes(scores: Sequence[Score], settings: EvaluationSettings) -> list[str]:
    """Which label values references and predictions hold, and which count, where there is more than one answer."""
    good = [score for score in scores if not score.error]
    references = {score.case: score.values for score in good}
    found = _values_note("references", references.values(), "reference_labels", settings.reference_labels)
    for model in dict.fromkeys(score.model for score in good):
        held = [score.pred_values for score in good if score.model == model]
        found += _values_note(model, held, "prediction_labels", settings.prediction_labels)
    return found


def _values_note(whose: str, held: Iterable[tuple[int, ...]], setting: str, chosen: tuple[int, ...]) -> list[str]:
    """The note of one side, where its masks hold several values, or others than those that are chosen."""
    counts = Counter(value for values in held for value in values)
    if len(counts) < 2 and not (chosen and set(counts) - set(chosen)):
        return []
    way_out = "" if chosen else f"; --set {setting}=[1] chooses"
    return [f"{whose}: {label_values(dict(sorted(counts.items())), 'case', chosen)}{way_out}"]


def _scan_notes(matching: Matching, scans: Scans) -> list[str]:
    """Pictures without a background must not pass as dark scans."""
    lacking = [job.case for job in matching.jobs if not scans.knows(job)]
    if not lacking:
        return []
    given = ", ".join(path.name for path in scans.images)
    what = f"{given}: no scan for" if given else "no scan is known for"
    refused = scans.refused.get(lacking[0], "")
    way_out = f" ({refused})" if refused else "" if given else "; --images takes them"
    return [
        f"{what} {len(lacking)} of {len(matching.jobs)} cases, such as {lacking[0]}; "
        f"their pictures have a black background{way_out}"
    ]


def _label_notes(scores: list[Score], labels: pd.DataFrame | None, path: Path | None) -> list[str]:
    """What the labels say nothing about: a table by subtype of fewer cases must not pass unseen."""
    if labels is None or path is None:
        return []
    cases = {score.case: score for score in scores if not score.error}
    known = case_labels(list(cases.values()), labels)
    unknown = sorted(set(cases) - set(known.index))
    if not unknown:
        return []
    why = "no row for the case, and no slice_ids beside its mask that have one"
    return [f"{Path(path).name}: {len(unknown)} of {len(cases)} cases have no label ({why}), such as {unknown[0]}"]


def clean(value: Any) -> Any:
    """`value` for JSON: NaN and infinity become null, numpy numbers plain ones."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(out: Path, table: pd.DataFrame, summary: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "cases.csv", table, "%.6g")
    write_json(out / "summary.json", summary)
