"""The result of each case: `volumes.csv` and `volumes.json`, without any patient identity."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ctseg.errors import InputError, OutputExistsError
from ctseg.files import read_json, write_json, write_text
from ctseg.harmless import csv_text, visible
from ctseg.inference.kind_slices import OTHER
from ctseg.inference.label_tables import TABLES
from ctseg.inference.written import KEY, check_head, described, edited_rows, keep_edited, looks_of, table_digest
from ctseg.outputs import MARK, to_stderr
from ctseg.outputs.leftovers import Say
from ctseg.version import __version__

SCHEMA = "ctseg-volumes/1"
NAMING = ("model", "owner")
"""Keys of a model's description that say what it is called: the same weights by another name are the same model."""
TABLE, DETAILS = "volumes.csv", "volumes.json"
SAVE_SECONDS, SAVE_SHARE = 5.0, 0.05
"""The tables are rewritten at most this often while cases come in, and for at most this share of the time: those of
100,000 cases take seconds to write."""
CASE_FILES = (
    "{}.nii.gz",
    "{}.json",
    "{}.png",
    "3d/{}.png",
    "{}.dcm",
    "{}_resampled.dcm",
    "{}_rtstruct.dcm",
    "{}_sr.dcm",
    "probabilities/{}.nii.gz",
    "probabilities/{}.json",
    f"{OTHER}/{{}}.nii.gz",
    f"{OTHER}/{{}}.json",
)
"""All files of one case."""


def files_of(cases: Iterable[str]) -> list[str]:
    """All files that a segmentation of some cases may write."""
    tables = [*TABLES, *(f"{OTHER}/{table}" for table in TABLES)]
    return [TABLE, DETAILS, *tables, *(file for case in cases for file in case_files(case))]


@dataclass(frozen=True)
class CaseResult:
    """One row of `volumes.csv`; the measures are None for a failed case."""

    case: str
    status: str
    """'ok' or 'failed'."""
    ml: float | None = None
    """Volume by slice positions."""
    ml_low: float | None = None
    """Smallest and largest volume of the mask and any member (mirror image with `tta`, model); None with one member."""
    ml_high: float | None = None
    ml_corrected: float | None = None
    """Volume with the bias taken out that the model's card states for its size; None without such a card, where nothing
    was segmented, or with another threshold."""
    ml_corrected_low: float | None = None
    """Ends of the card's interval: where the true volume of such a patient with a lesion lies."""
    ml_corrected_high: float | None = None
    ml_corrected_level: float | None = None
    """Share of such patients whose true volume the interval holds, as 0.9; the card says it."""
    agreement: float | None = None
    """Mean Dice between every two members."""
    entropy_bits: float | None = None
    """Mean entropy of the probability where any member segments something."""
    abc2_ml: float | None = None
    lesions: int | None = None
    """Connected lesions (26 neighbours)."""
    largest_ml: float | None = None
    brain_ml: float | None = None
    expected_dice: float | None = None
    """Dice that the probabilities expect of the mask, to rank scans by; None where nothing was segmented."""
    recovery: float | None = None
    """Dice of the mask, read off known haematomas of which the model was as sure; None where nothing was segmented."""
    recovery_2ml: float | None = None
    """Mean Dice of known haematomas of 2, 5 and 15 mL that were put into the head (`ctseg.inference.recovery`)."""
    recovery_5ml: float | None = None
    recovery_15ml: float | None = None
    recovery_hu: float | None = None
    """Mean HU inside them."""
    other_ml: float | None = None
    """Blood outside the brain's tissue; this and the next four are None where it was not asked for."""
    ivh_ml: float | None = None
    """Blood in the ventricles."""
    sah_ml: float | None = None
    """Blood in cisterns and sulci."""
    sdh_ml: float | None = None
    """Blood under the dura."""
    edh_ml: float | None = None
    """Blood over the dura."""
    seconds: float | None = None
    slices: int | None = None
    input: str = ""
    """Digest of the bytes of the case's input (`ctseg.io.digest`): says which file it was, without its name."""
    files: str = ""
    """The files of the case that were written, below the folder and joined by spaces; empty for a failed case."""
    model: str = ""
    """The models that made the mask: name, network and first 12 digits of the weights' SHA-256."""
    ood: str = ""
    """Out-of-distribution flags: in which respects the scan lies outside the model's training scans."""
    note: str = ""
    """What the reader noticed and corrected, and what to look at."""
    error: str = ""
    traceback: str = field(default="", compare=False, repr=False)
    """For a log; not in the tables, because paths in it may name a patient."""
    resumed: bool = field(default=False, compare=False)
    """Finished by an earlier run."""
    looks: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """How each of `files` looked when it was written, see `ctseg.outputs.changed`."""

    def row(self) -> dict[str, Any]:
        """The columns of the tables."""
        return {key: value for key, value in asdict(self).items() if key not in ("traceback", "resumed", "looks")}


COLUMNS = tuple(CaseResult("", "").row())
TEXTS = ("case", "status", "input", "files", "model", "ood", "note", "error")
"""The columns that hold text; the others hold numbers."""


class ResultTable:
    """The rows so far, in the order of the cases; `add` keeps the files of the output folder up to date."""

    def __init__(
        self, folder: Path, head: Mapping[str, Any], order: Sequence[str], finished: Mapping[str, CaseResult]
    ) -> None:
        """Start with the rows of an earlier run.

        Args:
            folder: the output folder.
            head: what `volumes.json` says beside the rows, see `provenance`.
            order: names of all cases; rows of `finished` that are not among them come last.
            finished: rows to keep.
        """
        self.folder, self.head = Path(folder), dict(head)
        self.rows: dict[str, CaseResult | None] = {**dict.fromkeys(order), **finished}
        self._saved, self._wait = time.monotonic(), SAVE_SECONDS
        path = self.folder / TABLE
        self._before, self._table = "", table_digest(path.read_bytes()) if path.is_file() else ""

    def add(self, result: CaseResult) -> None:
        """Set a case's row; the files follow within `SAVE_SECONDS`, of very many cases later."""
        self.rows[result.case] = result
        if time.monotonic() - self._saved > self._wait:
            self.save()

    def save(self) -> None:
        """Write both files, each atomically."""
        started = time.monotonic()
        text = csv_text(COLUMNS, [result.row() for result in self.rows.values() if result is not None])
        self._before, self._table = self._table, table_digest(visible(text).encode("utf-8", "backslashreplace"))
        self._write_details()
        write_text(self.folder / TABLE, text)
        self._saved = time.monotonic()
        self._wait = max(SAVE_SECONDS, (self._saved - started) / SAVE_SHARE)

    def finish(self) -> None:
        """Write both a last time; of the table before the last one nothing is said any more."""
        self.save()
        if self._before not in ("", self._table):
            self._before = ""
            self._write_details()

    def _write_details(self) -> None:
        rows = [(result.row(), result.looks) for result in self.rows.values() if result is not None]
        about = described(self.head, rows, (self._before, self._table))
        write_json(self.folder / DETAILS, {**self.head, "cases": [row for row, _ in rows], KEY: about})


def results_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `volumes.json`; `$defs/case` is that of a line of `ctseg segment --json`."""
    schema: dict[str, Any] = read_json(Path(__file__).with_name("volumes.schema.json"))
    return schema


def provenance(settings: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The head of `volumes.json`: enough to say which model and settings made the masks; no path."""
    return {
        "schema": SCHEMA,
        "tool": f"ctseg {__version__}",
        "notice": "research use only",
        "settings": dict(settings),
        "models": [dict(model) for model in models],
    }


def check_resume(folder: Path, head: Mapping[str, Any]) -> None:
    """Refuse to go on with a segmentation of other settings or models, or one that is broken, before it is touched.

    Raises:
        InputError: naming what differs.
    """
    old = read_table(folder) if (Path(folder) / DETAILS).exists() else {}
    check_head(Path(folder) / DETAILS, old)
    _check_same(folder, old, head)


def start_folder(
    folder: Path, head: Mapping[str, Any], *, resume: bool, overwrite: bool, say: Say = to_stderr
) -> dict[str, CaseResult]:
    """Make the output folder ready; returns the finished cases to keep, by name.

    Raises:
        OutputExistsError: if the folder holds anything and neither `resume` nor `overwrite` is set.
        InputError: if `resume` is set and the folder was made with other settings or models, or is no segmentation.
    """
    folder = Path(folder)
    if folder.is_file() or (_is_filled(folder) and not (resume or overwrite)):
        raise OutputExistsError(f"{folder}: exists already; add --resume to go on or --overwrite to start again")
    old = read_table(folder) if (folder / DETAILS).exists() else {}
    if resume:
        check_resume(folder, head)
        keep_edited(folder, TABLE, DETAILS, old, say)
        return _finished(folder, old)
    for row in old.get("cases", []):
        remove_case(folder, row["case"])
    folder.mkdir(parents=True, exist_ok=True)
    return {}


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != MARK for path in folder.iterdir())


def _finished(folder: Path, old: Mapping[str, Any]) -> dict[str, CaseResult]:
    """The cases of an earlier call that were segmented and whose mask is still there, by name; no edited row."""
    table, edited = old.get("cases", []), edited_rows(old)
    rows = [replace(_read_row(row), looks=looks_of(old, row["case"])) for row in table if row["case"] not in edited]
    return {row.case: row for row in rows if row.status == "ok" and (folder / f"{row.case}.nii.gz").exists()}


def earlier_rows(folder: Path) -> dict[str, CaseResult]:
    """The finished cases of an earlier call, by name; none where there was none."""
    return _finished(folder, read_table(folder)) if (Path(folder) / DETAILS).exists() else {}


def read_rows(folder: Path) -> dict[str, CaseResult]:
    """Every row of a segmentation, by name."""
    return {row.case: replace(row, resumed=False) for row in map(_read_row, read_table(folder)["cases"])}


def read_table(folder: Path) -> dict[str, Any]:
    """`volumes.json` of a segmentation.

    Raises:
        InputError: if it is missing, broken or of another schema.
    """
    path = Path(folder) / DETAILS
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: not made by this version of `ctseg segment`; choose another output or add --overwrite"
        )
    rows = data.get("cases", [])
    if not isinstance(rows, list) or not all(is_row(row) for row in rows):
        raise InputError(f"{path}: a row of cases is broken; choose another output or add --overwrite")
    return data


def is_row(row: Any) -> bool:
    """Whether a row has the columns' types, and a case's name that is a file name."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("case", "status")):
        return False
    return _is_file_name(row["case"]) and all(_fits(key, value) for key, value in row.items() if key in COLUMNS)


def _is_file_name(case: str) -> bool:
    return bool(case) and Path(case).name == case and "\0" not in case


def _fits(column: str, value: Any) -> bool:
    if column in TEXTS:
        return isinstance(value, str)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _read_row(row: Mapping[str, Any]) -> CaseResult:
    return CaseResult(**{key: value for key, value in row.items() if key in COLUMNS}, resumed=True)


def _check_same(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Masks of two models or thresholds in one folder would be worth nothing."""
    for key in ("settings", "models") if old else ():
        if _unnamed(old.get(key)) != _unnamed(new[key]):
            what = _what_differs(key, old.get(key), new[key])
            raise InputError(f"{folder}: --resume with other {key} ({what}); go on as started, or use --overwrite")


def _what_differs(key: str, old: Any, new: Any) -> str:
    """`threshold 0.4, now 0.5`, or which models are gone and which are new, by their digests."""
    if key == "models":
        had, has = (Counter(_model_name(model) for model in models or []) for models in (old, new))
        return f"{_listed(had - has)}, now {_listed(has - had)}"
    before, now = (dict(table or {}) for table in (old, new))
    differ = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name, 'not recorded')}, now {now.get(name, 'unknown')}" for name in differ)


def _listed(names: Counter[str]) -> str:
    return " and ".join(sorted(names.elements())) or "none"


def _model_name(model: Any) -> str:
    """A model as a message can name it."""
    fields = model if isinstance(model, Mapping) else {}
    name = " ".join(str(fields[key]) for key in ("segmenter", "weights") if fields.get(key)) or str(model)[:60]
    return f"{name} ({fields['other_versions']})" if fields.get("other_versions") else name


def _unnamed(value: Any) -> Any:
    """Descriptions of models without what they are called; anything else as it is."""
    if not isinstance(value, list):
        return value
    return [{key: item[key] for key in item if key not in NAMING} if isinstance(item, dict) else item for item in value]


def remove_case(folder: Path, case: str, *, keep: Collection[str] = ()) -> None:
    """Remove a case's own files but for some, and nothing else."""
    for file in case_files(case) if Path(case).name == case else ():
        if file not in keep:
            (folder / file).unlink(missing_ok=True)


def case_files(case: str) -> list[str]:
    """All files that a case may have, below the folder."""
    return [file.format(case) for file in CASE_FILES]


def recovery_text(read: float | None, hu: float | None, dices: Mapping[float, float | None]) -> str:
    """`recovery 0.78; at 52 HU: 0.41 (2 mL), 0.86 (15 mL)`; empty where no size has a Dice.

    Args:
        read: Dice read at the mask's own expected Dice, if there is one.
        hu: of the known haematomas.
        dices: mL -> their Dice, smallest first; None where a size had no room.
    """
    known = [f"{value:.2f} ({ml:g} mL)" for ml, value in dices.items() if value is not None]
    first = "recovery" if read is None else f"recovery {read:.2f};"
    return f"{first} at {hu:g} HU: {', '.join(known)}" if known else ""
