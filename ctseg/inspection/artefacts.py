"""What ctseg's own commands write: slice sets, pairs, runs, segmentations, evaluations and studies."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import read_csv, read_json_beside
from ctseg.inspection.report import Report
from ctseg.io.input_digests import set_digests
from ctseg.io.slice_table import scan_numbers
from ctseg.io.slices import SliceSet, greys_in_words, open_slices
from ctseg.outputs import read_mark
from ctseg.wording import counted, first_of

T = TypeVar("T")


def _started(path: Path, kind: str) -> Report:
    """A report with what the folder's mark says."""
    report = Report(path, kind)
    mark = read_mark(path) if path.is_dir() else None
    if mark is not None:
        report.facts |= {"written by": f"ctseg {mark.kind}", "tool": mark.tool}
        if not mark.finished:
            report.problems.append("unfinished: its command was stopped; go on with --resume, or start it again")
    return report


def _read(report: Report, reader: Callable[[Path], T], path: Path) -> T | None:
    """What a reader gives; None where it refuses the file, which is then a problem of the report."""
    try:
        return reader(path)
    except InputError as error:
        report.problems.append(str(error))
        return None


def inspect_slice_set(path: Path) -> Report:
    """A slice set as every later command checks it, with its patients, splits and lesions."""
    report = _started(path, "slice set")
    here = shlex.quote(str(path))
    slices = _read(report, open_slices, path)
    if slices is None:
        return report
    patients, table = slices.patients, slices.table
    by_split = {split: len(set(patients[table["split"].to_numpy() == split])) for split in sorted(set(table["split"]))}
    report.facts |= {
        "domain": slices.domain + (" (pseudo)" if slices.info.get("pseudo") else ""),
        "slices": len(slices),
        "patients": len(set(patients)),
        "patients by split": by_split,
        "size": f"{slices.size[0]} x {slices.size[1]} pixels of {table['spacing_row_mm'].iloc[0]:g} mm",
        "grey": greys_in_words(slices.info["intensity"], slices.info["settings"]),
    }
    if slices.masks is not None:
        lesion = slices.masks.any(axis=(1, 2))
        report.facts["slices with a lesion"] = int(lesion.sum())
        if not lesion.any():
            report.problems.append("labelled, but no slice has a lesion; see --lesion-labels of ctseg preprocess")
    _about_splits(report, by_split)
    report.steps = _slice_set_steps(slices, here)
    report.draw = partial(draw_slice_set, slices)
    report.made_of = partial(set_digests, slices)
    return report


def _about_splits(report: Report, by_split: dict[str, int]) -> None:
    if not by_split.get("train"):
        report.problems.append("no patient in split train: trainings and match have nothing to work on")
    if report.facts["domain"].startswith("mr") and not by_split.get("val"):
        report.remarks.append("no patient in split val: rules that need the source's validation cannot choose an epoch")


def _slice_set_steps(slices: SliceSet, here: str) -> list[str]:
    if slices.domain == "mr":
        return [
            f"ctseg match --src {here} --tgt CT_SET -o pairs.csv",
            f"ctseg synth-train --src {here} --tgt CT_SET --pairs pairs.csv -o runs/synthesis",
        ]
    steps = [f"ctseg match --src MR_SET --tgt {here} -o pairs.csv", f"ctseg segment {here} -o masks"]
    if slices.info.get("pseudo"):
        steps = [f"ctseg das-train --src {here} --tgt CT_SET --pairs pairs-stage2.csv -o runs/das"]
    elif slices.masks is not None:
        steps.append(f"ctseg finetune --data {here} -o runs/finetune")
    return steps


def draw_slice_set(slices: SliceSet, path: Path) -> Path:
    """One slice each of up to 30 scans, the one with the largest lesion or the most brain."""
    from ctseg.render.png import write_png
    from ctseg.render.sheet import Layout, Tile, draw_sheet, outlined

    column = "brain_px" if slices.masks is None else "lesion_px"
    best = pd.to_numeric(slices.table[column]).groupby(scan_numbers(slices.table), sort=False).idxmax().tolist()[:30]
    tiles = [
        Tile(np.asarray(slices.images[row]), outlined(None if slices.masks is None else np.asarray(slices.masks[row])),
             str(slices.slice_ids[row]), sides=("R", "L")) for row in best
    ]  # fmt: skip
    rows = [tiles[start : start + 6] for start in range(0, len(tiles), 6)]
    return write_png(path, draw_sheet(rows, layout=Layout(side=192)))


def inspect_pairs(path: Path) -> Report:
    """A pairs file by itself: how many slices it names, and for which stage it is."""
    report = Report(path, "pairs")
    try:
        table = read_csv(path, dtype={"source_id": str, "target_id": str}, keep_default_na=False)
    except (ValueError, OSError, OverflowError) as error:
        reason = system_failure(error) or f"not a readable table ({first_line(error)}); make it with `ctseg match`"
        report.problems.append(reason)
        return report
    names = {side: table[f"{side}_id"].nunique() for side in ("source", "target")}
    report.facts = {"pairs": len(table), "source slices": names["source"], "target slices": names["target"]}
    if not len(table):
        report.problems.append("holds no pair; make it with `ctseg match`")
        return report
    uses = Counter(table["target_id"])
    report.facts["each target slice serves"] = f"{min(uses.values())} to {max(uses.values())} times"
    report.facts["for"] = _stage_of(table)
    double = int(table.duplicated(["source_id", "target_id"]).sum())
    if double:
        report.remarks.append(f"{counted(double, 'pair')} named twice; each counts once")
    here = shlex.quote(str(path))
    train = "das-train" if report.facts["for"].startswith("stage 2") else "synth-train"
    report.steps = [f"ctseg {train} --src SOURCE_SET --tgt TARGET_SET --pairs {here} -o runs/{train}"]
    return report


def _stage_of(table: pd.DataFrame) -> str:
    if "rank" not in table.columns:
        return "either stage (no ranks)"
    doubled = {side: bool(table.duplicated([f"{side}_id", "rank"]).any()) for side in ("source", "target")}
    if doubled["source"] == doubled["target"]:
        return "either stage"
    return (
        "stage 2 (nearest sources of each target)" if doubled["source"] else "stage 1 (nearest targets of each source)"
    )


def inspect_run(path: Path) -> Report:
    """A training's folder, or its weights: the network, what it was trained on, how the epoch was chosen."""
    from ctseg.runs import model_path, read_header, read_metrics

    report = _started(path, "run")
    header = _read(report, read_header, path)
    if header is None:
        return report
    training = header.training
    report.facts |= {
        "holds": f"{header.kind} {header.name!r} of {header.package} {header.package_version}",
        "settings": header.settings,
        "trained by": f"ctseg {training.get('command')}, preset {training.get('preset')}, seed {training.get('seed')}",
        "weights": f"{model_path(path).stat().st_size / 1e6:.1f} MB",
        "weights chosen by": training.get("selection", "last"),
        "epoch": training.get("selected_epoch", training.get("epochs")),
        "CT labels seen": _saw_ct_labels(training),
        "data": {name: _table(data) for name, data in _table(training.get("data")).items()},
        "slices of": header.input.get("size"),
        "grey of CT": greys_in_words(_table(header.input.get("intensity")), _table(header.input.get("preprocess"))),
    }
    rows = read_metrics(path) if path.is_dir() else []
    said = [row["warnings"] for row in rows if isinstance(row.get("warnings"), list)]
    warnings = list(dict.fromkeys(str(text) for texts in said for text in texts))
    report.remarks += [f"the training warned: {text}" for text in warnings]
    here = shlex.quote(str(path))
    report.steps = [f"ctseg synthesize --model {here} --src MR_SET -o sets/pseudo-ct"]
    if header.kind == "segmenter":
        _read(report, lambda _: _check_input(header.input), path)
        report.steps = [
            f"ctseg segment SCANS --model {here} -o masks",
            f"ctseg finetune --data CT_SET --from {here} -o runs/finetune",
        ]
    return report


def _check_input(model_input: dict[str, Any]) -> None:
    """What `segment` asks of a model's header, so that a run is not called sound that it refuses."""
    from ctseg.inference.ood import check_profile
    from ctseg.inference.prepare import preprocessing_of

    preprocessing_of(model_input)
    check_profile(model_input.get("profile"))


def inspect_folds(path: Path) -> Report:
    """The folder of `ctseg finetune`."""
    report = _started(path, "folds")
    folds = sorted(item for item in path.glob("fold_*") if item.is_dir())
    unfinished = [item.name for item in folds if not (item / "model.safetensors").exists()]
    report.facts |= {"folds": len(folds)}
    if unfinished:
        report.problems.append(f"unfinished folds: {first_of(unfinished, 3)}; go on with --resume")
    summary = _json(report, path / "summary.json")
    overall = _table(summary.get("overall"))
    if overall:
        whom = "whom its start has learnt from" if summary.get("start_saw_patients") else "never trained on"
        report.facts[f"pooled Dice on patients {whom}"] = _short(overall.get("pooled"))
    report.steps = [f"ctseg segment SCANS --model {shlex.quote(str(path / 'fold_1'))} -o masks"]
    return report


def inspect_segmentation(path: Path) -> Report:
    """The folder of `ctseg segment`: finished and failed cases, volumes, flags."""
    from ctseg.inference.results import read_table
    from ctseg.outputs import what_changed

    report = _started(path, "segmentation")
    details = _read(report, read_table, path)
    if details is None:
        return report
    rows = details.get("cases", [])
    report.rows = [{key: row.get(key) for key in ("case", "status", "ml", "lesions", "ood", "error")} for row in rows]
    report.facts |= _segmentation_facts(rows, details)
    report.problems += [f"{row['case']}: failed: {row.get('error', '')}" for row in rows if row["status"] != "ok"]
    report.problems += _lost_masks(path, rows)
    if edited := what_changed(path):
        report.remarks.append(f"{edited} since ctseg wrote it: --resume keeps what was changed and makes it again")
    strange = [row["case"] for row in rows if row.get("ood")]
    if strange:
        report.remarks.append(f"out of distribution: {first_of(strange, 3)}; look at them")
    report.steps = [f"ctseg evaluate --pred {shlex.quote(str(path))} --ref MASKS -o evaluation"]
    return report


def _segmentation_facts(rows: list[dict[str, Any]], details: dict[str, Any]) -> dict[str, Any]:
    volumes = [float(row["ml"]) for row in rows if row.get("ml") is not None]
    return {
        "cases": len(rows),
        "segmented": sum(row["status"] == "ok" for row in rows),
        "with a lesion": sum(volume > 0 for volume in volumes),
        "mL": f"{min(volumes):.2f} to {max(volumes):.2f}" if volumes else "none",
        "models": [f"{model.get('segmenter')} {model.get('weights')}" for model in details.get("models", [])],
        "settings": details.get("settings", {}),
    }


def _lost_masks(path: Path, rows: list[dict[str, Any]]) -> list[str]:
    gone = [row["case"] for row in rows if row["status"] == "ok" and not (path / f"{row['case']}.nii.gz").exists()]
    return [f"masks are gone: {first_of(gone, 3)}; segment again with --resume"] if gone else []


def inspect_evaluation(path: Path) -> Report:
    """The folder of `ctseg evaluate`."""
    report = _started(path, "evaluation")
    summary = _json(report, path / "summary.json")
    found = summary.get("models")
    models = [model for model in found if isinstance(model, dict)] if isinstance(found, list) else []
    if not models:
        report.problems.append(f"{path / 'summary.json'}: holds no model's numbers; evaluate again")
        return report
    report.facts["models"] = {
        str(model.get("name")): {
            "patients": model.get("patients"),
            "pooled Dice": _short(_table(_table(model.get("pooled")).get("dice")).get("value")),
        } for model in models
    }  # fmt: skip
    report.steps = [f"open {shlex.quote(str(path / 'report.html'))} in a browser"]
    return report


def inspect_study(path: Path) -> Report:
    """A study file, or the folder of one: its steps; `ctseg run --dry-run` checks their values."""
    from ctseg.study import read_study

    file = path / "study.toml" if path.is_dir() else path
    report = _started(path, "study")
    study = _read(report, read_study, file)
    if study is None:
        return report
    report.facts["steps"] = len(study.steps)
    report.rows = [{"step": step.name, "line": step.line} for step in study.steps]
    here = shlex.quote(str(file))
    report.steps = [f"ctseg run {here} --dry-run", f"ctseg run {here}"]
    return report


def _json(report: Report, path: Path) -> dict[str, Any]:
    return _table(_read(report, read_json_beside, path))


def _short(value: Any) -> Any:
    """A number with three decimals, which is all that a cohort bears; anything else as it is."""
    return round(value, 3) if isinstance(value, float) else value


def _saw_ct_labels(training: Mapping[str, Any]) -> bool:
    """Whether a network, or the weights it started from, has learnt from labels of CT; folds say `supervised`."""
    return bool(training.get("ct_labels") or training.get("supervised"))


def _table(value: Any) -> dict[str, Any]:
    """A JSON object; of anything else in its place, an empty one."""
    return value if isinstance(value, dict) else {}


LOOK: dict[str, Callable[[Path], Report]] = {
    "slice set": inspect_slice_set, "pairs": inspect_pairs, "run": inspect_run, "folds": inspect_folds,
    "segmentation": inspect_segmentation, "evaluation": inspect_evaluation, "study": inspect_study,
}  # fmt: skip
"""Kind -> who looks into it."""
