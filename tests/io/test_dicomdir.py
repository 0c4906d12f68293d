"""A DICOMDIR's files that are not there are listed, on disk and in a zip; what it says is never used as a path."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from ctseg.io.discover import discover

Write = Callable[..., list[Path]]
Positions = list[tuple[float, float, float]]


def write_index(path: Path, names: list[list[str]], **more: object) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MediaStorageDirectoryStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    records = []
    for parts in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = parts
        record.RecordInUseFlag = more.get("flag", 0xFFFF)
        records.append(record)
    records.append(Dataset())
    records[-1].DirectoryRecordType = "PATIENT"
    made.DirectoryRecordSequence = records
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def disc(write_series: Write, head_ct: np.ndarray, straight: Positions) -> tuple[Path, list[list[str]]]:
    """A disc with six slices in DICOM/A, and how its index names them."""
    files = write_series(head_ct, straight, "disc/DICOM/A")
    root, names = files[0].parents[2], []
    for place, file in enumerate(files):
        file.rename(file.with_name(f"IM{place}"))
        names.append(["DICOM", "A", f"IM{place}"])
    return root, names


def missing(folder: Path) -> list[str]:
    found = discover(folder, "ct")
    assert len(found.cases) == 1
    assert all(item.broken for item in found.rejected if "DICOMDIR" in item.reason)
    return [item.path_or_series for item in found.rejected if "named by DICOMDIR and not there" in item.reason]


def test_a_whole_disc_says_nothing(disc: tuple[Path, list[list[str]]]) -> None:
    root, names = disc
    write_index(root / "DICOMDIR", names)
    assert missing(root) == []
    assert not discover(root, "ct").incomplete


def test_each_missing_file_is_listed_and_the_search_is_incomplete(disc: tuple[Path, list[list[str]]]) -> None:
    root, names = disc
    write_index(root / "DICOMDIR", [*names, ["DICOM", "A", "IM6"], ["DICOM", "B", "IM0"], ["DICOM", "A", "IM6"]])
    assert missing(root) == [f"{root}/DICOM/A/IM6", f"{root}/DICOM/B/IM0"]
    assert discover(root, "ct").incomplete
    with zipfile.ZipFile(root.parent / "disc.zip", "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, f"cd/{file.relative_to(root)}")
    told = missing(root.parent / "disc.zip")
    assert told == [f"{root.parent}/disc.zip/cd/DICOM/A/IM6", f"{root.parent}/disc.zip/cd/DICOM/B/IM0"]


@pytest.mark.parametrize("name", ["im6", "IM6.dcm", "im6.dcm.gz", "IM6;1", "IM6.;1"])
def test_names_are_found_as_discs_are_copied(disc: tuple[Path, list[list[str]]], name: str) -> None:
    root, names = disc
    (root / "DICOM/A" / "IM0").rename(root / "DICOM/A" / name)
    write_index(root / "dicomdir", [*names[1:], ["DICOM", "A", "IM6"]])
    assert not [item for item in discover(root, "ct").rejected if "not there" in item.reason]


def test_records_out_of_use_and_ways_out_of_the_folder(disc: tuple[Path, list[list[str]]]) -> None:
    root, names = disc
    write_index(root / "DICOMDIR", [["DICOM", "A", "GONE"]], flag=0)
    assert missing(root) == []
    (root.parent / "outside").write_text("x")
    write_index(root / "DICOMDIR", [*names, ["..", "outside"], ["/etc/passwd"], ["a\nb"]])
    told = missing(root)
    assert told == [f"{root}/outside", f"{root}/_etc_passwd", f"{root}/ab"]


def test_a_broken_index_is_named_and_one_that_is_no_dicom_is_counted(disc: tuple[Path, list[list[str]]]) -> None:
    root, names = disc
    index = write_index(root / "DICOMDIR", names)
    data = index.read_bytes()
    index.write_bytes(data[: data.index(b"\x04\x00\x20\x12")])
    (line,) = [item for item in discover(root, "ct").rejected if item.path_or_series.endswith("DICOMDIR")]
    assert line.broken
    assert "copy the whole disc again" in line.reason
    index.write_bytes(b"whatever")
    assert discover(root, "ct").rejected == ()


def test_links_to_folders_are_followed_and_circles_end(disc: tuple[Path, list[list[str]]]) -> None:
    root, names = disc
    (root / "DICOM").rename(root.parent / "store")
    (root / "DICOM").symlink_to(root.parent / "store")
    (root.parent / "store" / "again").symlink_to(root.parent / "store")
    write_index(root / "DICOMDIR", names)
    assert not [item for item in discover(root, "ct").rejected if "not there" in item.reason]
