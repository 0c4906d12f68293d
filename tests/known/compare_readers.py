"""Public test data through ctseg's readers, beside dcm2niix, SimpleITK, dicom2nifti and nibabel.

`make known DATA="FOLDER ..." EACH="FOLDER ..."` reads every scan of the folders that are named (of EACH, every file by
itself), compares HU, positions and orientation with the peers, and writes the table as a page. Of DICOM files that are
no scan the pixels are compared all the same. A difference that ctseg's notes do not name ends it with exit code 1.
Nothing is fetched, and no file of the data is copied into the repository.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import peers
import pydicom
import SimpleITK as sitk
from page import Row, write_page
from peers import Verdict

from ctseg.errors import CtsegError, first_line
from ctseg.io.case import Case, Discovery, Rejected
from ctseg.io.dicom.header import integer, text
from ctseg.io.dicom.pixels import slice_values
from ctseg.io.dicom.reader import with_transfer_syntax
from ctseg.io.discover import discover, read_case
from ctseg.io.source import Source
from ctseg.io.volume import Volume

ZIP_FILES = 64
"""Series of up to so many files are also read from a zip and as `.gz`."""


def rows_of(folder: Path, each: bool, work: Path, programs: peers.Programs) -> Iterator[Row]:
    """A row for every scan, for every file that is none, and for the pixels of those that are DICOM."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and ".git" not in file.parts)
    for part in files if each else [folder]:
        try:
            found = discover([part])
        except CtsegError as error:
            reason = first_line(error).replace(f"{part}: ", "").replace(f"{folder}/", "")
            found = Discovery((), (Rejected(str(part), reason),))
        yield from (left_out(folder, item) for item in found.rejected)
        scans = [row_of(folder, case, work, programs) for case in found.cases]
        yield from scans
        read = {
            file for case, row in zip(found.cases, scans, strict=True) if row.result == "read" for file in case.files
        }
        inside = [part] if each else files
        yield from (row for file in inside if file not in read and (row := pixels_of(folder, file)))


def pixels_of(folder: Path, file: Path) -> Row | None:
    """The greyscale pixels of a CT or MR file that is no scan, beside GDCM's; None where it has none."""
    try:
        with Source(str(file)).open() as stream:
            dataset = with_transfer_syntax(pydicom.dcmread(stream, force=True))
    except Exception:  # what is no DICOM is listed already
        return None
    single = integer(dataset, "SamplesPerPixel") == 1 and integer(dataset, "NumberOfFrames", 1) == 1
    if not single or "PixelData" not in dataset or text(dataset, "Modality") not in ("CT", "MR"):
        return None
    row = Row(folder.name, str(file.relative_to(folder)), 1, "pixels only")
    domain = "ct" if dataset.get("Modality") == "CT" else "mr"
    try:
        values, row.notes = slice_values(dataset, file.name, domain)
    except CtsegError as error:
        return replace(row, result=f"pixels refused: {first_line(error).removeprefix(f'{file.name}: ')}")
    image = peers.read_itk(file)
    theirs = None if image is None else sitk.GetArrayFromImage(image).squeeze()
    fits = theirs is not None and theirs.shape == values.shape
    row.verdicts["SimpleITK"] = peers.different_values(values, theirs, domain) if fits else peers.NOT_READ
    return row


def left_out(folder: Path, item: Rejected) -> Row:
    """A file that is no scan."""
    return Row(folder.name, item.path_or_series.replace(f"{folder}/", ""), 1, item.reason.replace(f"{folder}/", ""))


def row_of(folder: Path, case: Case, work: Path, programs: peers.Programs) -> Row:
    """One scan read by ctseg and by every peer that reads it."""
    name = str(case.files[0].relative_to(folder)) + (f" and {len(case.files) - 1} more" if len(case.files) > 1 else "")
    try:
        volume = read_case(case)
    except CtsegError as error:
        reason = first_line(error).replace(f"{folder}/", "").removeprefix(f"{case.case_id}: ")
        return Row(folder.name, name, len(case.files), f"refused: {reason}")
    row = Row(folder.name, name, len(case.files), "read", volume.notes)
    place = Path(tempfile.mkdtemp(dir=work))
    try:
        if case.kind == "dicom":
            row.verdicts["SimpleITK"] = peers.slice_by_slice(volume, case)
            row.verdicts |= peers.converted(volume, case, place, programs)
            if len(case.files) <= ZIP_FILES:
                row.verdicts["ctseg, zip"] = packed(volume, case, place)
        else:
            row.verdicts["nibabel"] = peers.by_nibabel(volume, case)
            row.verdicts["SimpleITK"] = peers.volume_by_itk(volume, case)
    finally:
        shutil.rmtree(place)
    return row


def packed(volume: Volume, case: Case, place: Path) -> Verdict:
    """The same series from a zip whose members are in no order."""
    archive = place / "scan.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for number, file in enumerate(reversed(case.files)):
            made.write(file, f"a/{number:04d}{file.suffix if file.suffix == '.gz' else ''}")
    try:
        (again,) = discover([archive], case.domain).cases
        other = read_case(replace(again, notes=case.notes))
    except (CtsegError, ValueError) as error:
        return Verdict("differs", "shape", first_line(error))
    return peers.same_volumes(volume, other)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, compare, print, write the page; 1 where a difference goes unnamed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="Read as a user would.")
    parser.add_argument("--each", type=Path, nargs="*", default=[], metavar="FOLDER", help="Read file by file.")
    parser.add_argument("--page", type=Path, help="Markdown page to write.")
    parser.add_argument("--programs", type=Path, default=Path(sys.executable).parent, help="Where dcm2niix is.")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    programs = peers.find_programs(options.programs)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ctseg-known-") as work:
        for folder in [*options.folders, *options.each]:
            for row in rows_of(folder.resolve(), folder in options.each, Path(work), programs):
                rows.append(row)
                say(f"{row.collection}/{row.name}: {row.result}{row.compared()}")
            if options.page:
                write_page(options.page, rows, programs.versions)
    unsaid = [f"{row.collection}/{row.name}: {what}" for row in rows for what in row.unsaid()]
    for line in unsaid:
        say(f"UNNAMED {line}")
    read = sum(row.result == "read" for row in rows)
    say(f"{len(rows)} rows, {read} scans read, {len(unsaid)} unnamed differences")
    return 1 if unsaid else 0


def say(line: str) -> None:
    """A line of the log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
