"""Slice sets: the one artefact that the commands share.

A folder with `images.npy` (N, H, W) uint8, `masks.npy` (N, H, W) uint8 0/1 where the domain is labelled, `slices.csv`
one row a slice in array order, and `dataset.json`. See docs/formats.md.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctseg.arguments import a_path, of_kind, several
from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import read_json, regular
from ctseg.io.identity import patients_of
from ctseg.io.pages import blocks
from ctseg.io.slice_table import COLUMNS, check_intensity, check_leak, read_slice_table, scans_without_positions

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS", "SCHEMA", "SliceSet", "assign_splits", "check_domain", "check_leak", "check_same_size",
    "check_target", "is_slice_set",
    "open_slices",
]  # fmt: skip

SCHEMA = "ctseg-slices/1"


@dataclass(frozen=True)
class SliceSet:
    """An opened slice set; the arrays are memory maps."""

    folder: Path
    images: NDArray[np.uint8]
    """(N, H, W)"""
    masks: NDArray[np.uint8] | None
    """(N, H, W) 0/1, None for an unlabelled domain."""
    table: pd.DataFrame
    """N rows in array order."""
    info: dict[str, Any]
    """`dataset.json`."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def domain(self) -> str:
        """'mr' or 'ct'."""
        return str(self.info["domain"])

    @property
    def kind(self) -> str:
        """'MR', 'CT' or 'pseudo-CT'."""
        return "pseudo-CT" if self.info.get("pseudo") else self.domain.upper()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def slice_ids(self) -> NDArray[np.str_]:
        """(N,) slice names, unique."""
        return self.table["slice_id"].to_numpy(dtype=str)

    @property
    def patients(self) -> NDArray[np.str_]:
        """(N,) the patient of each slice: follow-ups of one patient have one name."""
        names = self.table["patient_id"].astype(str)
        return names.map(patients_of(list(names.unique()))).to_numpy(dtype=str)

    def rows(self, split: str | None = None) -> NDArray[np.int64]:
        """Array indices of one split, or of all slices.

        Raises:
            InputError: if the split has no slice.
        """
        if split is None:
            return np.arange(len(self))
        of_kind(split, str, f"{self.folder}: split", "the name of a split")
        chosen = np.flatnonzero(self.table["split"].to_numpy() == split)
        if not len(chosen):
            known = sorted(set(self.table["split"]))
            raise InputError(f"{self.folder}: no slice in split {split!r}; this set has {', '.join(known)}")
        return chosen

    def ids_to_rows(self, slice_ids: Sequence[str], what: str = "slice list") -> NDArray[np.int64]:
        """Array indices of named slices.

        Raises:
            InputError: if a name is unknown; the message gives the first and how many.
        """
        slice_ids = several(slice_ids, str, what, "a list of slice names")
        place = {name: row for row, name in enumerate(self.slice_ids)}
        unknown = [name for name in slice_ids if name not in place]
        if unknown:
            raise InputError(
                f"{what}: {len(unknown)} of {len(slice_ids)} slices are not in {self.folder} (first: {unknown[0]}); "
                "make it from this slice set"
            )
        return np.array([place[name] for name in slice_ids], dtype=np.int64)

    def notes(self) -> list[str]:
        """What to tell a person about the set."""
        flat = scans_without_positions(self.table)
        if not flat:
            return []
        return [
            f"{self.folder}/slices.csv: {len(flat)} scans have one z_mm in all their slices (first: {flat[0]}); they "
            "have no volume in mL and are not segmented: write z_mm, or preprocess again"
        ]

    def require_masks(self, why: str) -> NDArray[np.uint8]:
        """The masks of a labelled set.

        Raises:
            InputError: if the set has none.
        """
        if self.masks is None:
            raise InputError(f"{self.folder}: has no masks.npy, but {why}; preprocess scans that come with labels")
        return self.masks


def is_slice_set(folder: Path) -> bool:
    """Whether a folder holds the files of a slice set."""
    return (folder / "dataset.json").is_file() and (folder / "slices.csv").is_file()


def open_slices(folder: Path | str) -> SliceSet:
    """Open a slice set and check it: every row of the table, every pixel of the masks, size and type of the images.

    Raises:
        InputError: one line naming the file, what is wrong and the way out.
    """
    folder = a_path(folder, "open_slices: folder")
    info = _open_info(folder)
    images = _open_array(folder / "images.npy")
    masks = _open_array(folder / "masks.npy") if (folder / "masks.npy").exists() else None
    table = read_slice_table(folder / "slices.csv")
    _check_counts(folder, images, masks, table)
    if not len(images):
        raise InputError(f"{folder}: holds no slice; preprocess again with other --slices or --select")
    if masks is not None:
        _check_mask_values(masks, folder / "masks.npy")
    check_leak(table, folder)
    return SliceSet(folder, images, masks, table, info)


def make_one(folder: Path) -> str:
    """How to make a slice set of a folder of scans, as it is typed."""
    name = shlex.quote(f"{folder.resolve().name}-slices")
    return f"if it holds scans, make one: ctseg preprocess {shlex.quote(str(folder))} -o {name}"


def _open_info(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; a slice set is a folder made by `ctseg preprocess`")
    if not (folder / "dataset.json").exists():
        raise InputError(f"{folder}: not a slice set (no dataset.json); {make_one(folder)}")
    info: dict[str, Any] = read_json(folder / "dataset.json")
    schema = info.get("schema") if isinstance(info, dict) else None
    if schema is None and not (folder / "slices.csv").exists():
        raise InputError(f"{folder}: not a slice set (its dataset.json is another program's); {make_one(folder)}")
    if schema != SCHEMA:
        raise InputError(f"{folder}: slice set of schema {schema!r}, this ctseg reads {SCHEMA!r}; preprocess again")
    if info.get("domain") not in ("mr", "ct"):
        raise InputError(f"{folder}/dataset.json: domain must be 'mr' or 'ct', not {info.get('domain')!r}")
    for key in ("intensity", "settings", "counts"):
        if not isinstance(info.get(key), dict):
            raise InputError(f"{folder}/dataset.json: {key} must be an object, see docs/formats.md; preprocess again")
    check_intensity(info["intensity"], folder)
    return dict(info)


def _open_array(path: Path) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = np.load(regular(path), mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; preprocess again") from None
    except InputError:
        raise
    except Exception as error:  # a broken header reaches numpy's parser, which raises what it likes
        reason = system_failure(error) or f"not a readable array ({first_line(error, None)}); preprocess again"
        raise InputError(f"{path}: {reason}") from None
    if not isinstance(array, np.memmap) or array.dtype != np.uint8 or array.ndim != 3:
        found = f"{getattr(array, 'shape', '')} {getattr(array, 'dtype', type(array).__name__)}"
        raise InputError(f"{path}: expected (N, H, W) uint8, found {found}; preprocess again")
    if array.offset + array.nbytes != path.stat().st_size:
        raise InputError(f"{path}: holds more or fewer bytes than its header says; preprocess again")
    return array


def _check_counts(
    folder: Path, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None, table: pd.DataFrame
) -> None:
    found = f"images.npy has {images.shape}, " + (f"masks.npy {masks.shape}, " if masks is not None else "")
    if len(table) != len(images) or (masks is not None and masks.shape != images.shape):
        raise InputError(
            f"{folder}: images.npy, masks.npy and slices.csv do not agree ({found}slices.csv {len(table)} rows); "
            "preprocess again"
        )


def _check_mask_values(masks: NDArray[np.uint8], path: Path) -> None:
    """Masks hold 0 and 1 alone.

    Raises:
        InputError: naming the first slice with another value.
    """
    start = 0
    for block in blocks(masks):
        if block.size and block.max() > 1:
            row = int(np.flatnonzero((block > 1).any(axis=(1, 2)))[0])
            raise InputError(
                f"{path}: slice {start + row} (line {start + row + 2} of slices.csv) holds the value "
                f"{block[row].max()}, expected 0 and 1 alone; write lesion as 1 or preprocess again"
            )
        start += len(block)


def check_same_size(source: SliceSet, target: SliceSet) -> None:
    """Two domains that train together have one size.

    Raises:
        InputError: naming both folders and sizes.
    """
    if source.size != target.size:
        raise InputError(
            f"{source.folder} is {source.size[0]} x {source.size[1]} but {target.folder} is {target.size[0]} x "
            f"{target.size[1]}; preprocess both with the same --size"
        )
    if source.domain == target.domain == "ct":
        check_same_greys(source, target.info["settings"], f"{target.folder}")


GREY_SETTINGS = ("window", "brain_hu")
"""Preprocessing settings that say which HU a grey value of a CT slice is."""


def check_same_greys(slices: SliceSet, settings: Mapping[str, Any], what: str) -> None:
    """Refuse CT slices whose grey values mean other HU than those of `what`, which was made with `settings`.

    What one of the two does not record is not compared.

    Raises:
        InputError: naming the setting and both values.
    """
    own = slices.info["settings"]
    for name in GREY_SETTINGS:
        if name not in own or name not in settings:
            continue
        here, there = (list(value) if isinstance(value, tuple) else value for value in (own[name], settings[name]))
        if here != there:
            raise InputError(
                f"{slices.folder}: made with {name}={here}, but {what} with {name}={there}; preprocess with the same"
            )


def brain_hu_of(*described: Mapping[str, Any]) -> float | None:
    """The HU that every scan's median brain was moved to before the window; None where HU are as scanned.

    Args:
        described: settings of a preprocessing, and the intensity map of pseudo-CT, which has none.
    """
    values = (item.get("brain_hu") for item in described)
    return next((float(value) for value in values if isinstance(value, int | float)), None)


def greys_in_words(intensity: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """`0 to 255 are 0 to 100 HU`, or what they are beside each scan's own brain.

    Args:
        intensity: of `dataset.json`, or of a model's header.
        settings: of the preprocessing.
    """
    if intensity.get("unit") != "HU" or not intensity.get("a"):
        return f"0 to 255 of {intensity.get('unit', 'unknown')}"
    low = (0.0 - float(intensity.get("b", 0))) / float(intensity["a"])
    high, brain = low + 255 / float(intensity["a"]), brain_hu_of(settings, intensity)
    if brain is None:
        return f"0 to 255 are {low:g} to {high:g} HU"
    return (
        f"0 to 255 are {low - brain:+g} to {high - brain:+g} HU relative to each scan's median brain "
        f"({low:g} to {high:g} HU with the median moved to {brain:g})"
    )


def intensity_of(slices: SliceSet, rows: NDArray[np.int64]) -> tuple[float, float]:
    """(a, b) of uint8 = a * HU + b for the scan that these rows of a CT set belong to."""
    first = slices.table.iloc[int(rows[0])]
    if "intensity_a" in first and "intensity_b" in first:
        return float(first["intensity_a"]), float(first["intensity_b"])
    intensity = slices.info.get("intensity") or {}
    return float(intensity.get("a") or 2.55), float(intensity.get("b") or 0.0)


def check_domain(slices: SliceSet, domain: str, flag: str, other: SliceSet | None = None) -> None:
    """Whether the slice set behind a flag is MR or CT, as the command needs it.

    Args:
        slices: the set behind the flag.
        domain: that it has to be of.
        flag: as typed; empty for an argument.
        other: the set behind the other flag; if that is of the wanted domain, the two are likely swapped.

    Raises:
        InputError: naming the folder and the flag.
    """
    if slices.domain != domain:
        is_swapped = other is not None and other.domain == domain
        way_out = "swap --src and --tgt?" if is_swapped else f"give a slice set of {domain.upper()}"
        found = f"is a slice set of {slices.kind}, where {domain.upper()} is expected"
        raise InputError(f"{flag} {slices.folder}: {found}; {way_out}".lstrip())


def check_target(target: SliceSet, source: SliceSet) -> None:
    """Refuse a target that is no real CT: an `InputError`, which says where source and target look swapped."""
    check_domain(target, "ct", "--tgt", source)
    if target.info.get("pseudo"):
        way_out = "swap --src and --tgt?" if source.kind == "CT" else "give a slice set of CT"
        raise InputError(f"--tgt {target.folder}: is pseudo-CT made of MR, where CT is expected; {way_out}")


def assign_splits(patient_ids: Sequence[str], fractions: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Patient -> split, by patient, independent of the order given.

    Args:
        patient_ids: any order, repeats allowed.
        fractions: split name -> share; the shares sum to 1.
        seed: another seed gives another split.
    """
    from hashlib import blake2b

    patients = sorted(set(patient_ids), key=lambda name: blake2b(f"{seed}:{name}".encode()).digest())
    edges = np.cumsum([*fractions.values()]) * len(patients)
    names = list(fractions)
    return {
        patient: names[min(int(np.searchsorted(edges, row + 0.5)), len(names) - 1)]
        for row, patient in enumerate(patients)
    }
