"""What is there: every scan below some paths, by reading headers only, and what was left out and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ctseg.arguments import a_path, callback, of_kind, one_of, some_paths, whole_number
from ctseg.errors import CaseError, InputError, UnreadableError, first_line, without_quotes
from ctseg.failures import system_failure
from ctseg.io.archive import zip_members
from ctseg.io.case import Case, Discovery, Rejected, safe_name, short_name
from ctseg.io.dicom.enhanced import read_with_frames
from ctseg.io.dicom.header import NoHeader, SliceHeader
from ctseg.io.dicom.index import missing_below
from ctseg.io.dicom.reader import read_series
from ctseg.io.dicom.series import cases_from_headers
from ctseg.io.digest import input_digest
from ctseg.io.extent import check_extent, check_slices
from ctseg.io.identity import keyed_digest
from ctseg.io.kinds import kind_of
from ctseg.io.masks import scan_labels
from ctseg.io.nifti.layouts import TASK_FILE, companions, folder_cases, task_cases, task_folders
from ctseg.io.nifti.volumes import read_nifti
from ctseg.io.private import unnamed
from ctseg.io.source import Source
from ctseg.io.volume import Volume
from ctseg.io.walk import LOOKED_FOR, all_files
from ctseg.parallel import Failure, ordered_map
from ctseg.progress import ProgressCallback
from ctseg.wording import first_of

__all__ = ["Case", "Discovery", "Rejected", "discover", "read_case"]

DICOM_NAMES = frozenset({".dcm", ".dicom"})
"""Names that nothing but DICOM has: such a file is a broken one when it is none."""

CASE_SUFFIXES = ("_resampled", "_rtstruct", "_sr")
"""What a segmentation puts behind a case's name, in files beside those that have the name alone."""
TABLE_NAMES = frozenset({"volumes"})
"""Stems of its tables."""
PARALLEL_FROM = 2000
"""Below this many files, starting workers takes longer than reading the headers."""

CHUNK = 64
"""Files whose headers are read in one go."""


def discover(
    inputs: Sequence[Path] | Path,
    domain: str = "auto",
    *,
    workers: int = 0,
    progress: ProgressCallback | None = None,
    without: Path | None = None,
    nameless: bool = False,
) -> Discovery:
    """Find every scan in files and folders of any mix.

    Args:
        inputs: Decathlon or nnU-Net task folders, BraTS folders, NIfTI files and folders, DICOM trees and flat folders,
            zips of DICOM.
        domain: 'ct', 'mr', or 'auto' to tell from Modality, dataset.json, file names and voxels.
        workers: processes for DICOM headers where there are many files; 0 for as many as there are cores.
        progress: called with (files read, files in all, "").
        without: a folder not to look into: the command's own output, where it lies in an input.
        nameless: whether the error that no scan was found names no file, as under `--deidentify`.

    Raises:
        InputError: if a path is missing or an empty folder, or no scan is found at all, or an argument is of another
            kind.
    """
    paths = some_paths(inputs, "discover: inputs")
    if not paths:
        raise InputError("discover: inputs: no path; give files or folders of scans")
    one_of(domain, ("auto", "ct", "mr"), "discover: domain")
    workers = whole_number(workers, "discover: workers", 0)
    without = None if without is None else a_path(without, "discover: without")
    callback(progress, "discover: progress")
    found = all_files(paths, without)
    files, left = _outside(list(dict.fromkeys(found.files)), without)
    cases, rejected = _volume_part(files, domain)
    rejected = [*found.rejected, *missing_below(found.indexes), *rejected, *left]
    sources, refused = _dicom_sources(files, found.ignored)
    rejected += refused
    headers: list[SliceHeader] = []
    unread: list[tuple[Source, NoHeader]] = []
    with closing(_read_headers(sources, workers, progress)) as read:
        for source, header in zip(sources, read, strict=True):
            if isinstance(header, SliceHeader):
                headers.append(header)
            else:
                unread.append((source, header))
    dicom, refused = cases_from_headers(headers, domain)
    cases, rejected = [*cases, *dicom], [*rejected, *_no_dicom(unread), *refused]
    if not cases:
        raise InputError(_nothing(paths, [unnamed(item) for item in rejected] if nameless else rejected, domain))
    return Discovery(tuple(_unique(cases)), tuple(rejected), dict(found.ignored))


def _outside(files: list[Path], folder: Path | None) -> tuple[list[Path], list[Rejected]]:
    """The files that do not lie below a folder, and a line about those that do."""
    if folder is None or not folder.is_dir():
        return files, []
    inside = _Below(folder)
    kept = [file for file in files if not inside(file)]
    if len(kept) == len(files):
        return files, []
    return kept, [Rejected(str(folder), f"the output folder; {len(files) - len(kept)} files in it are not looked at")]


class _Below:
    """Tells whether a file lies below a folder; asks the disk once for each folder of files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.known = os.path.realpath(folder), dict[Path, bool]()

    def __call__(self, file: Path) -> bool:
        if file.parent not in self.known:
            self.known[file.parent] = Path(os.path.realpath(file.parent)).is_relative_to(self.folder)
        return self.known[file.parent]


def _volume_part(files: Sequence[Path], domain: str) -> tuple[list[Case], list[Rejected]]:
    """Task folders first; the other volumes (NIfTI, Analyze, NRRD, MetaImage) by their names."""
    cases: list[Case] = []
    rejected: list[Rejected] = []
    tasks = task_folders(files)
    for folder in tasks:
        try:
            found, refused = task_cases(folder, domain)
        except UnreadableError as error:
            found, refused = [], [Rejected(str(folder / TASK_FILE), str(error).partition(": ")[2], True)]
        except Exception as error:  # a dataset.json can hold anything
            reason = system_failure(error) or f"is of no known form ({without_quotes(first_line(error))}); correct it"
            found, refused = [], [Rejected(str(folder / TASK_FILE), reason, True)]
        cases, rejected = cases + found, rejected + refused
    volumes = sorted({path for path in files if kind_of(path.name).what == "volume"})
    rest = [path for path in volumes if not any(task in path.parents for task in tasks)]
    found, refused = folder_cases(rest, domain)
    return cases + found, rejected + refused


def _dicom_sources(files: Sequence[Path], ignored: Counter[str]) -> tuple[list[Source], list[Rejected]]:
    """Files and zip members that could be DICOM, and what is left out by its name."""
    sources: list[Source] = []
    rejected: list[Rejected] = []
    voxels = {beside for path in files for beside in companions(path)}
    for path in files:
        kind = kind_of(path.name)
        if path in voxels or path.name == TASK_FILE:
            continue
        if kind.what == "zip":
            members, refused = zip_members(path, ignored)
            sources, rejected = sources + members, rejected + refused
        elif kind.what == "left":
            rejected.append(Rejected(str(path), kind.reason, True))
        elif kind.what == "dicom":
            sources.append(Source(str(path)))
    return sources, rejected


def _no_dicom(unread: Sequence[tuple[Source, NoHeader]]) -> list[Rejected]:
    """A line for each file that may be a broken scan, and one for the others of each suffix and reason."""
    rejected: list[Rejected] = []
    others: dict[tuple[str, str], list[Source]] = {}
    for source, header in unread:
        suffix = Path(source.name.lower().removesuffix(".gz")).suffix
        if header.broken or suffix in DICOM_NAMES:
            rejected.append(Rejected(str(source), header.reason, True))
        else:
            others.setdefault((suffix, header.reason), []).append(source)
    for (suffix, reason), sources in others.items():
        more = f" and {len(sources) - 1} more {suffix or 'files without a suffix'}" if len(sources) > 1 else ""
        rejected.append(Rejected(f"{sources[0]}{more}", reason))
    return rejected


def _read_headers(
    sources: Sequence[Source], workers: int, progress: ProgressCallback | None
) -> Generator[SliceHeader | NoHeader]:
    """The header of every source, or in one line why it has none; in processes where there are many."""
    if len(sources) < PARALLEL_FROM:
        workers = 1
    chunks = [sources[start : start + CHUNK] for start in range(0, len(sources), CHUNK)]
    done = 0
    with closing(_read_chunks(chunks, workers or os.cpu_count() or 1)) as read:
        for chunk, headers in read:
            yield from headers
            done += len(chunk)
            if progress:
                progress(done, len(sources), "")


def _read_chunks(
    chunks: Sequence[Sequence[Source]], workers: int
) -> Generator[tuple[Sequence[Source], Sequence[SliceHeader | NoHeader]]]:
    """Of a chunk that kills its worker, the files are read one at a time to find the guilty one."""
    with closing(ordered_map(_read_chunk, chunks, workers=workers if workers > 1 else 0)) as outcomes:
        for chunk, headers in outcomes:
            if not isinstance(headers, Failure):
                yield chunk, headers
            elif len(chunk) == 1:
                yield chunk, [NoHeader(headers.error, broken=True)]
            else:
                yield chunk, [found[0] for _, found in list(_read_chunks([[source] for source in chunk], workers))]


def _read_chunk(chunk: Sequence[Source]) -> list[SliceHeader | NoHeader]:
    return list(map(read_with_frames, chunk))


def _unique(cases: Sequence[Case]) -> list[Case]:
    """Cases in order of their names, which are tied to what each was made of, not to its place among the others.

    NIfTI files of the same name get their folder's name in front; cases that still share a name get a digest of their
    input behind it. Copies of one input get a number as well, since nothing else tells them apart. Names that differ
    in upper and lower case alone are the same to macOS and Windows, and so to this function.
    """
    named = _where_shared(cases, lambda case: case.case_id if case.kind == "dicom" else _with_folder(case))
    named = [_shortened(case) for case in named]
    named = _where_shared(named, lambda case: f"{case.case_id}-{_digest_of(case)}")
    named = _beside_other_files(named)
    result: list[Case] = []
    copies: Counter[str] = Counter()
    for case in sorted(named, key=lambda case: (case.case_id, str(case.files[0]))):
        copies[case.case_id.casefold()] += 1
        number = copies[case.case_id.casefold()]
        result.append(case if number == 1 else _renamed(case, f"{case.case_id}-{number}"))
    return result


def _shortened(case: Case) -> Case:
    """The case with a name to which suffixes can be added, and a note where letters were cut off."""
    short = short_name(case.case_id)
    if short == case.case_id:
        return case
    note = f"the name is shortened: {len(case.case_id)} letters and a suffix are too long for a file name"
    return replace(_renamed(case, short), notes=(*case.notes, note))


def _beside_other_files(cases: Sequence[Case]) -> list[Case]:
    """The cases with another name where its files would be a table's, or those of another case.

    `x_sr.dcm` is the object of a case `x_sr`, and the report of a case `x`.
    """
    names = {case.case_id.casefold() for case in cases}

    def is_taken(name: str) -> bool:
        stems = (name.removesuffix(suffix) for suffix in CASE_SUFFIXES if name.endswith(suffix))
        return name in TABLE_NAMES or any(stem in names for stem in stems)

    return [
        _renamed(case, f"{case.case_id}-{_digest_of(case)}") if is_taken(case.case_id.casefold()) else case
        for case in cases
    ]


def _where_shared(cases: Sequence[Case], name: Callable[[Case], str]) -> list[Case]:
    """The cases with another name where several share one."""
    counts = Counter(case.case_id.casefold() for case in cases)
    return [case if counts[case.case_id.casefold()] == 1 else _renamed(case, name(case)) for case in cases]


def _with_folder(case: Case) -> str:
    return f"{safe_name(case.files[0].parent.name)}_{case.case_id}"


def _digest_of(case: Case) -> str:
    """Six digits of the input's digest; of the path, where the input cannot be read."""
    try:
        return input_digest(case)[:6]
    except Exception:  # whatever it is, reading the case says it in its row of the table
        return keyed_digest(str(case.files[0]))


def _renamed(case: Case, name: str) -> Case:
    if name == case.case_id:
        return case
    if case.kind == "dicom":
        return replace(case, case_id=name)
    return replace(case, case_id=name, patient_id=name, series_id=name)


def _nothing(paths: Sequence[Path], rejected: Sequence[Rejected], domain: str) -> str:
    where = first_of(paths)
    what = "scan" if domain == "auto" else f"{domain.upper()} scan"
    if rejected:
        same = len(paths) == 1 and rejected[0].path_or_series == where
        first = rejected[0].reason if same else f"first of {len(rejected)} left out: {rejected[0]}"
        return f"{where}: holds no {what} that can be read; {first}"
    return f"{where}: holds no {what}; looked for {LOOKED_FOR}"


def read_case(case: Case) -> Volume:
    """Read one scan with its labels; `ctseg.io.private` takes files' names out of what its errors say.

    Raises:
        CaseError: `CASE: what is wrong`, if the scan or its labels are broken or do not fit each other.
        InputError: if it is no case that `discover` found.
    """
    of_kind(case, Case, "read_case: case", "one of the `cases` that `ctseg.io.discover.discover(path)` finds")
    try:
        volume = check_slices(check_extent(_read(case)))
        if case.label_file is not None and volume.native is not None:
            volume = replace(volume, labels=scan_labels(case.label_file, volume))
    except (OSError, MemoryError) as failure:
        raise CaseError(f"{case.case_id}: {system_failure(failure) or without_quotes(first_line(failure))}") from None
    except CaseError as error:
        message = str(error)
        raise CaseError(message if message.startswith(case.case_id) else f"{case.case_id}: {message}") from None
    return volume


def _read(case: Case) -> Volume:
    if case.kind == "dicom":
        return read_series(
            case.members or case.files,
            domain=case.domain,
            case_id=case.case_id,
            zip_file=case.zip_file,
            notes=case.notes,
            frames=case.frames,
        )
    volume = read_nifti(
        case.files[0],
        domain=case.domain,
        case_id=case.case_id,
        channel=case.channel,
        orientation=case.orientation,
    )
    return replace(volume, patient_id=case.patient_id, notes=(*case.notes, *volume.notes))
