"""`slices.csv`: read and checked line by line, so that a hand-edited table cannot change a volume unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import read_csv
from ctseg.harmless import is_plain, one_line
from ctseg.io.case import safe_name
from ctseg.io.identity import patients_of

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "slice_id", "patient_id", "series_id", "index", "z_mm", "spacing_row_mm", "spacing_col_mm",
    "brain_px", "lesion_px", "split",
)  # fmt: skip
TEXT = ("slice_id", "patient_id", "series_id", "split", "case_id")
REQUIRED_TEXT = ("slice_id", "patient_id", "series_id", "split")
MAX_Z_MM = 10_000.0
"""No scanner table places a slice further from its origin."""
SPACING_MM = (0.05, 50.0)
"""Of pixels; a model's grid may be coarser than a scanner's."""
STEP_MM = (0.05, 20.0)
"""From one index of a scan to the next, on the whole: no scanner has smaller or larger steps."""
MAX_INTENSITY = 1e9
MAX_STEP_RATIO = 20.0
"""A step between neighbouring slices is at most this many times the median step of its scan."""


def read_slice_table(path: Path) -> pd.DataFrame:
    """Read `slices.csv` and check every row.

    Args:
        path: the table, in UTF-8; further columns are kept as they are.

    Returns:
        The rows in order, with text, whole numbers and mm in their own types.

    Raises:
        InputError: one line naming the file, the line and the way out.
    """
    table = _read(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; preprocess again")
    _check_text(table, path)
    table = table.assign(
        index=_numbers(table, "index", path, (0, 1_000_000), whole=True),
        z_mm=_numbers(table, "z_mm", path, (-MAX_Z_MM, MAX_Z_MM)),
        spacing_row_mm=_numbers(table, "spacing_row_mm", path, SPACING_MM),
        spacing_col_mm=_numbers(table, "spacing_col_mm", path, SPACING_MM),
        brain_px=_numbers(table, "brain_px", path, (0, 1e9), whole=True),
        lesion_px=_lesion_px(table, path),
        **{name: _numbers(table, name, path, (-1e9, 1e9)) for name in _intensity_columns(table)},
    )
    _check_places(table, path)
    return table


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        table = read_csv(path, dtype=dict.fromkeys((*COLUMNS, *TEXT), str), keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; preprocess again") from None
    except (ValueError, OSError, OverflowError, pd.errors.ParserError) as error:
        reason = system_failure(error) or f"not a readable table ({first_line(error, None)}); preprocess again"
        raise InputError(f"{path}: {reason}") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"{path}: rows have more fields than the header has names; correct it or preprocess again")
    return table


def _check_text(table: pd.DataFrame, path: Path) -> None:
    for name in REQUIRED_TEXT:
        empty = np.flatnonzero(table[name].str.strip() == "")
        if len(empty):
            raise _fault(path, empty[0], f"{name} is empty")
    for name in (column for column in TEXT if column in table.columns):
        plain = {text: is_plain(text) for text in table[name].unique()}
        harmful = np.flatnonzero(~table[name].map(plain).to_numpy(bool))
        if len(harmful):
            shown = one_line(str(table[name].iloc[harmful[0]]))[:40]
            raise _fault(
                path, harmful[0], f"{name} {shown!r} is a formula to a spreadsheet, or holds control characters"
            )
    double = np.flatnonzero(table["slice_id"].duplicated())
    if len(double):
        name = table["slice_id"].iloc[double[0]]
        raise InputError(
            f"{path}: line {double[0] + 2}: slice_id {name} appears more than once; give every slice its own name"
        )


def _numbers(
    table: pd.DataFrame,
    name: str,
    path: Path,
    bounds: tuple[float, float],
    *,
    whole: bool = False,
    above: bool = False,
) -> NDArray[Any]:
    """A column as numbers.

    Args:
        table: its text.
        name: of the column.
        path: for messages.
        bounds: smallest and largest value.
        whole: whether they are whole numbers.
        above: whether they must lie above the smallest value.

    Raises:
        InputError: naming the first line whose value is no number or out of bounds.
    """
    import pandas as pd

    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    low, high = bounds
    good = np.isfinite(values) & (values >= low) & (values <= high)
    good &= (values > low) if above else True
    good &= (values == np.round(values)) if whole else True
    bad = np.flatnonzero(~good)
    if len(bad):
        kind = "a whole number" if whole else "a number"
        text = str(table[name].iloc[bad[0]])
        found = f"is {text[:40]!r}" if text.strip() else "is empty"
        least = f"above {low:g}" if above else f"from {low:g}"
        raise _fault(path, bad[0], f"{name} {found}, expected {kind} {least} to {high:g}")
    return values.astype(np.int64) if whole else values


def _lesion_px(table: pd.DataFrame, path: Path) -> Any:
    """Whole numbers, or the empty column of an unlabelled set."""
    if (table["lesion_px"] == "").all():
        return table["lesion_px"]
    return _numbers(table, "lesion_px", path, (0, 1e9), whole=True)


def _intensity_columns(table: pd.DataFrame) -> list[str]:
    return [name for name in ("intensity_a", "intensity_b") if name in table.columns]


def _check_places(table: pd.DataFrame, path: Path) -> None:
    """Each scan has one row an index, and positions that go one way with it in steps of its own size, in mm.

    A scan whose slices all have one position can be trained on; see `scans_without_positions`.
    """
    keys = _scan_keys(table)
    double = np.flatnonzero(table.duplicated([*keys, "index"]))
    if len(double):
        row = table.iloc[double[0]]
        raise _fault(path, double[0], f"index {row['index']} of series {row['series_id']} appears more than once")
    ordered = table[[*keys, "index", "z_mm"]].assign(row=np.arange(len(table))).sort_values([*keys, "index"])
    for row, reason in _misplaced(scan_numbers(ordered).to_numpy(np.int64), ordered):
        raise _fault(path, row, reason)


def _scan_keys(table: pd.DataFrame) -> list[str]:
    """Columns that tell scans apart."""
    return [name for name in ("patient_id", "series_id", "case_id") if name in table.columns]


def scan_numbers(table: pd.DataFrame) -> pd.Series:
    """The number of each row's scan, from 0 in order of first appearance.

    One series can be several scans, as the phases of a perfusion are, and two patients' series can share a name.
    """
    return table.groupby(_scan_keys(table), sort=False).ngroup()


def scan_names(table: pd.DataFrame) -> pd.Series:
    """The name of each row's scan: its case, or its series where there are no cases.

    Where several scans share it, the patient and the series are part of the name.
    """
    name = table["case_id"] if "case_id" in table.columns else table["series_id"]
    is_shared = scan_numbers(table).groupby(name.to_numpy()).transform("nunique") > 1
    if not is_shared.any():
        return name
    whole = table[_scan_keys(table)].agg("_".join, axis=1)
    return name.where(~is_shared, whole)


def scan_files(table: pd.DataFrame) -> pd.Series:
    """The name of each row's scan as part of a file's name: it leads to no other folder, and no two scans share it.

    Raises:
        InputError: if the names of two scans differ in nothing that a file's name can hold.
    """
    names = scan_names(table)
    files = names.map(safe_name)
    double = names.groupby(files.to_numpy()).unique().map(len) > 1
    if double.any():
        one, other = names[(files == double.index[double][0]).to_numpy()].unique()[:2]
        raise InputError(f"scans {one!r} and {other!r} would share a file; rename one of them in slices.csv")
    return files


def scans_without_positions(table: pd.DataFrame) -> list[str]:
    """Names of the scans of several slices that all have one `z_mm`: they have no volume in mL."""
    scans = table.groupby(scan_numbers(table), sort=False)
    flat = (scans["z_mm"].transform("nunique") == 1) & (scans["z_mm"].transform("size") > 1)
    return list(dict.fromkeys(scan_names(table)[flat].astype(str)))


def _misplaced(scan: NDArray[Any], ordered: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """(row, reason) of the slices whose position does not fit their scan's others; rows in order of scan and index."""
    import pandas as pd

    steps = np.diff(ordered["z_mm"].to_numpy())
    per_slice = steps / np.diff(ordered["index"].to_numpy()).clip(1)
    inside = np.diff(scan) == 0
    frame = pd.DataFrame({"scan": scan[1:], "step": per_slice, "row": ordered["row"].to_numpy()[1:]})[inside]
    if frame.empty:
        return
    median = frame.groupby("scan")["step"].transform("median")
    size = frame["step"].abs().groupby(frame["scan"]).transform("median")
    still = frame["step"].abs().groupby(frame["scan"]).transform("max") == 0
    unreal = ~still & ~size.between(*STEP_MM)
    turned = ~still & ~unreal & (frame["step"] * np.sign(median) <= 0)
    jumped = ~still & ~unreal & (frame["step"].abs() > MAX_STEP_RATIO * size)
    for row, step in zip(frame["row"][unreal], size[unreal], strict=True):
        yield int(row), f"z_mm steps of {step:.3g} mm, where scans have {STEP_MM[0]:g} to {STEP_MM[1]:g} mm"
    for row in frame["row"][turned]:
        yield int(row), "z_mm does not go one way with index within its scan"
    for row in frame["row"][jumped]:
        yield int(row), f"z_mm is more than {MAX_STEP_RATIO:g} usual steps from the slice before"


def _fault(path: Path, row: int, reason: str) -> InputError:
    """The error about a row, counted from 0; the header is line 1."""
    return InputError(f"{path}: line {int(row) + 2}: {reason}; correct the line or preprocess again")


def check_leak(table: pd.DataFrame, where: Path | str) -> None:
    """No patient may be in two splits, whatever names its scans have.

    Raises:
        InputError: naming the first patient that is.
    """
    pairs = table[["patient_id", "split"]].drop_duplicates()
    patients = patients_of(list(pairs["patient_id"].astype(str)))
    splits = pairs["split"].groupby(pairs["patient_id"].astype(str).map(patients)).nunique()
    leaked = splits.index[splits > 1]
    if len(leaked):
        raise InputError(f"{where}: patient {leaked[0]} is in two splits ({len(leaked)} such); split by patient")


def check_intensity(intensity: Mapping[str, Any], folder: Path) -> None:
    """uint8 = a * x + b needs two finite numbers and a slope above 0, or none where they differ by case."""
    slope, offset = intensity.get("a"), intensity.get("b")
    if slope is None and offset is None:
        return
    if not (_is_number(slope) and _is_number(offset) and float(slope or 0) > 0):
        raise InputError(
            f"{folder}/dataset.json: intensity needs a (above 0) and b as numbers, found a={slope!r}, b={offset!r}; "
            "correct them or preprocess again"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_INTENSITY
