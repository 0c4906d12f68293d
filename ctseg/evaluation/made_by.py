"""Which models made the masks that are evaluated, as `ctseg segment` says it beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctseg.evaluation.cases import Matching
from ctseg.files import read_json_beside
from ctseg.inference.written import looks_of
from ctseg.outputs.changed import changed
from ctseg.wording import first_of

DETAILS = "volumes.json"
KEYS = ("model", "owner", "segmenter", "package", "weights", "trained_by")
MAX_LETTERS = 120


def made_by(matching: Matching) -> dict[str, list[dict[str, str]]]:
    """Model of the evaluation -> descriptions of the models behind its masks, each once; empty where nothing says so.

    Masks of other tools have no `volumes.json`, and a broken one is passed over: it decides no number.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for place, name in enumerate(matching.models):
        folders = {path.parent for job in matching.jobs if (path := job.preds[place]) is not None}
        rows = [row for folder in sorted(folders) for row in _described(folder / DETAILS)]
        found[name] = [row for number, row in enumerate(rows) if row not in rows[:number]]
    return found


def edited_notes(matching: Matching) -> list[str]:
    """A line for each model whose masks somebody has changed since `ctseg segment` wrote them."""
    notes = []
    for place, name in enumerate(matching.models):
        used = [path for job in matching.jobs if (path := job.preds[place]) is not None]
        masks = sorted(mask for folder in {path.parent for path in used} for mask in _edited(folder) if mask in used)
        if masks:
            names = first_of([mask.name for mask in masks])
            notes.append(f"{name}: {names} changed since `ctseg segment` wrote it: not the model's own")
    return notes


def _edited(folder: Path) -> list[Path]:
    """The files of a segmentation that look otherwise than its `volumes.json` says."""
    data = read_json_beside(folder / DETAILS)
    rows = data.get("cases") if isinstance(data, dict) else None
    names = [row.get("case") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [folder / name for case in names for name in changed(folder, looks_of(data, str(case)))]


def _described(path: Path) -> list[dict[str, str]]:
    data = read_json_beside(path)
    models = data.get("models") if isinstance(data, dict) else None
    rows = models if isinstance(models, list) else []
    return [_facts(row) for row in rows if isinstance(row, dict)]


def _facts(row: dict[str, Any]) -> dict[str, str]:
    """What there is to know of a model; of another version of its package than it was made with, beside the package."""
    facts = {key: _text(row.get(key)) for key in KEYS}
    differ = _text(row.get("other_versions"))
    return facts | ({"package": f"{facts['package']} ({differ})"} if differ else {})


def _text(value: Any) -> str:
    """A short line of text; anything else is left out."""
    return value[:MAX_LETTERS] if isinstance(value, str) and value.isprintable() else ""
