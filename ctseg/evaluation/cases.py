"""Which prediction belongs to which reference, and which case to which patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import read_csv, regular
from ctseg.io.case import Case
from ctseg.io.digest import input_digest
from ctseg.io.identity import convention_of, patient_rule, patients_of
from ctseg.io.input_digests import file_sha256, files_digest, text_digest
from ctseg.io.mask_files import MaskFolder, Unread, files_of, mask_case, mask_folder, no_masks
from ctseg.io.mask_places import disagree, folders_of, names_in, unlike
from ctseg.io.named_masks import named_cases, with_named
from ctseg.parallel import attempt
from ctseg.wording import counted, first_of


@dataclass(frozen=True)
class Job:
    """One reference with the prediction of each model, None where a model has none."""

    case: str
    patient: str
    ref: Path
    preds: tuple[Path | None, ...]
    scan: Case | None = None
    """The scan that was given, where neither side may have the whole of its grid."""
    folders: tuple[str, ...] = ()
    """Above its reference, or else a prediction, of the case's own name, below what was given; none of a table's."""


@dataclass(frozen=True)
class Matching:
    """All cases of an evaluation, and what had no partner."""

    models: tuple[str, ...]
    jobs: tuple[Job, ...]
    unreferenced: dict[str, list[str]]
    """Model -> its predictions without a reference."""
    patient_rule: str
    elsewhere: tuple[str, ...] = ()
    """What is said of masks in folders of other names than their references', or of several cases in the table."""
    unread: tuple[tuple[str, tuple[Unread, ...]], ...] = ()
    """(the references or a model, files that may hold masks of further cases, in forms that are not read)."""


def match_cases(preds: Sequence[Path], ref: Path, *, table: Path | None = None, group: Path | None = None) -> Matching:
    """Match masks by file name (`CASE.nii.gz`, `CASE.seg.nrrd`, `CASE.dcm`), or by the rows `case,ref,pred` of `table`.

    DICOM masks without a partner of their name are matched by the patient and series that they name.

    Args:
        preds: one folder (or one file) of predicted masks for each model.
        ref: the folder (or file) of reference masks.
        table: CSV with the columns `case`, `ref`, `pred`; file names relative to the folders.
        group: CSV with the columns `case`, `patient`; without it the patient is read from the case's name where
            that follows a known convention (`ctseg.io.identity`), and any other case is its own patient.

    Raises:
        InputError: if a folder is missing or holds no mask, no prediction matches any reference, or a table is
            incomplete.
    """
    referenced, predicted = _both_sides(preds, ref, table)
    refs, found = referenced.masks, [item.masks for item in predicted]
    if not any(case in masks for masks in found for case in refs):
        raise InputError(
            f"{', '.join(str(pred) for pred in preds)}: no mask has the name of one in {ref} "
            f"(such as {next(iter(refs))}.nii.gz); rename them or give --cases with case,ref,pred"
        )
    elsewhere = _elsewhere(refs, ref, found, preds) if table is None else _several_times(table, (refs, *found))
    patients, rule = _patients(list(refs), group)
    above = _folders(((ref, refs), *zip(preds, found, strict=True)), table)
    jobs = tuple(
        Job(case, patients[case], path, tuple(masks.get(case) for masks in found), folders=above.get(case, ()))
        for case, path in refs.items()
    )
    models = model_names(preds)
    extra = {model: sorted(set(masks) - set(refs)) for model, masks in zip(models, found, strict=True)}
    return Matching(models, jobs, extra, rule, elsewhere, _unread(("references", *models), (referenced, *predicted)))


def _folders(sides: Iterable[tuple[Path, Mapping[str, Path]]], table: Path | None) -> dict[str, tuple[str, ...]]:
    """Case -> the folders above the first of its masks that lies in one below what was given; none of a table's."""
    found: dict[str, tuple[str, ...]] = {}
    for root, masks in sides if table is None else ():
        for case, folders in folders_of(masks, root).items():
            found[case] = found.get(case) or folders
    return found


def _both_sides(preds: Sequence[Path], ref: Path, table: Path | None) -> tuple[MaskFolder, list[MaskFolder]]:
    """The references, and the masks of each model, by their cases.

    DICOM masks without a partner of their file's name have the name of the scan that they name themselves.

    Raises:
        InputError: if a folder holds no mask, or two of one scan, or a table is incomplete.
    """
    referenced = _refs(ref, table)
    predicted = [_predictions(pred, table, referenced.masks, ref) for pred in preds]
    if table is not None:
        return referenced, predicted
    partners = {name for item in predicted for name in (*item.masks, *named_cases(item).values())}
    referenced = with_named(referenced, partners, ref)
    return referenced, [with_named(item, referenced.masks, pred) for item, pred in zip(predicted, preds, strict=True)]


def _elsewhere(
    refs: Mapping[str, Path], ref: Path, found: Sequence[Mapping[str, Path]], preds: Sequence[Path]
) -> tuple[str, ...]:
    """What is said of pairs that have one name in folders of other names.

    Raises:
        InputError: if folders say that the two masks are not of one scan.
    """
    notes, above = [], folders_of(refs, ref)
    for pred, masks in zip(preds, found, strict=True):
        own = folders_of(masks, pred)
        sides = names_in(own), names_in(above)
        pairs = [case for case in own if case in above]
        for case in pairs:
            if folders := disagree(own[case], above[case], *sides):
                raise InputError(
                    f"{masks[case]}: has the name of {refs[case]}, and {folders[0]} is not {folders[1]}; name the "
                    "pairs in a table case,ref,pred (--cases)"
                )
        loose = [case for case in pairs if unlike(own[case], above[case]) and unlike(above[case], own[case])]
        if loose:
            both = f"{masks[loose[0]].relative_to(pred)} and {refs[loose[0]].relative_to(ref)}"
            notes.append(
                f"{mask_case(pred.name)}: {counted(len(loose), 'pair')} of one name in folders of other names, such as "
                f"{both}; are they of one scan?"
            )
    return tuple(notes)


def _several_times(table: Path, sides: Sequence[Mapping[str, Path]]) -> tuple[str, ...]:
    """A note where a table names one file for several cases, as a line that was copied does."""
    counts = [Counter(side.values()) for side in sides]
    twice = [path.name for count in counts for path, times in count.items() if times > 1]
    return (f"{table.name}: names {first_of(twice)} for several cases; is that meant?",) if twice else ()


def _unread(names: Sequence[str], folders: Sequence[MaskFolder]) -> tuple[tuple[str, tuple[Unread, ...]], ...]:
    return tuple((name, found.unread) for name, found in zip(names, folders, strict=True) if found.unread)


def matching_digests(matching: Matching, tables: Mapping[str, Path | None]) -> dict[str, Any]:
    """Digests of what an evaluation reads: the references, each model's predictions, tables, scans that give a grid.

    A file that cannot be read counts as missing; its case says why.
    """
    references = {job.case: job.ref for job in matching.jobs}
    predictions = {
        model: _digest_of({job.case: job.preds[place] for job in matching.jobs})
        for place, model in enumerate(matching.models)
    }
    given = {name: _digest_of({name: path}) for name, path in tables.items() if path is not None}
    return {"reference": _digest_of(references), "predictions": predictions, **given, **_scans_digest(matching)}


def _scans_digest(matching: Matching) -> dict[str, str]:
    """`scans` and one digest of the scans that give a grid; nothing where none does."""
    scans = {job.case: attempt(input_digest, job.scan) for job in matching.jobs if job.scan is not None}
    lines = [f"{case} {digest}" for case, digest in sorted(scans.items()) if isinstance(digest, str)]
    return {"scans": text_digest("\n".join(lines))} if scans else {}


def _digest_of(files: Mapping[str, Path | None]) -> str:
    """One digest of the files of several masks or tables by their names; a mask can lie in two files."""
    named = ((name, number, path) for name, mask in files.items() if mask for number, path in enumerate(files_of(mask)))
    parts = ((f"{name} {number}" if number else name, path) for name, number, path in named)
    return files_digest({name: path for name, path in parts if _can_be_read(path)})


def _can_be_read(path: Path) -> bool:
    try:
        file_sha256(regular(path))
    except (OSError, InputError):
        return False
    return True


def _is_named(path: Path) -> bool:
    """Whether a table's file is there; of one that the system does not give, its case says why."""
    try:
        return path.is_file()
    except OSError:
        return True


def masks_in(folder: Path) -> dict[str, Path]:
    """Case name -> file of the masks of a folder, sorted; or of the one file given.

    Raises:
        InputError: if there is none, or one case has two files.
    """
    return _whole_folder(folder).masks


def _whole_folder(folder: Path) -> MaskFolder:
    found = mask_folder(folder)
    if not found.masks:
        raise no_masks(folder, found)
    return found


def model_names(preds: Sequence[Path]) -> tuple[str, ...]:
    """Folder names as names of models, with as many parents as it takes to tell them apart."""
    parts = [pred.resolve().parts for pred in preds]
    for depth in range(1, max(len(part) for part in parts) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return tuple(mask_case(name) for name in names)
    raise InputError(f"{preds[0]}: the same predictions are given twice; give each once")


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV with at least `columns`, all text.

    Raises:
        InputError: if it is missing, broken or lacks a column.
    """
    try:
        table = read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (ValueError, OSError, OverflowError) as error:
        reason = system_failure(error) or f"not a CSV table ({first_line(error, None)})"
        raise InputError(f"{path}: {reason}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first field for a name of the row
        raise InputError(f"{path}: rows have more fields than the header has names; correct it")
    lacking = [column for column in columns if column not in table.columns]
    if lacking:
        raise InputError(f"{path}: no column {lacking[0]!r}; the header must be {','.join(columns)}")
    return table


def _refs(ref: Path, table: Path | None) -> MaskFolder:
    if table is None:
        return _whole_folder(ref)
    rows = read_table(table, ("case", "ref", "pred"))
    if rows.empty or rows["case"].duplicated().any():
        raise InputError(f"{table}: needs one row a case, each case once")
    return MaskFolder({case: ref / name for case, name in zip(rows["case"], rows["ref"], strict=True)}, ())


def _predictions(pred: Path, table: Path | None, refs: dict[str, Path], ref: Path) -> MaskFolder:
    if table is not None:
        rows = read_table(table, ("case", "ref", "pred"))
        named = {case: pred / name for case, name in zip(rows["case"], rows["pred"], strict=True)}
        return MaskFolder({case: path for case, path in named.items() if _is_named(path)}, ())
    if pred.is_file() and ref.is_file():
        return MaskFolder({next(iter(refs)): pred}, ())
    return _whole_folder(pred)


def _patients(cases: list[str], group: Path | None) -> tuple[dict[str, str], str]:
    """Case -> patient, and a sentence that says by which rule."""
    if group is None:
        found = [convention_of(case) for case in cases]
        return patients_of(cases), patient_rule((item and item[0] for item in found), "--group")
    rows = read_table(group, ("case", "patient"))
    patients = dict(zip(rows["case"], rows["patient"], strict=True))
    lacking = [case for case in cases if not patients.get(case)]
    if lacking:
        raise InputError(
            f"{group}: no patient for case {lacking[0]} ({len(lacking)} cases lack one); add case,patient rows"
        )
    return {case: patients[case] for case in cases}, f"patient from {group.name}"
