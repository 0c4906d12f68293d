"""Markers in every element, file, folder and member name: no output, message or temporary file may carry one."""

from __future__ import annotations

import csv
import gzip
import re
import shutil
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from enhanced_frames import NEEDED as OF_SLICES
from enhanced_frames import shuffled
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, generate_uid
from safetensors.torch import load_file
from segment_helpers import Head, Stack, write_dicom
from toy_sets import toy

import ctseg.models
from ctseg.cli.main import main
from ctseg.networks.fcn import FcnVgg16
from ctseg.runs import read_header, save_model

pytestmark = pytest.mark.slow

PROFILE = Path(__file__).with_name("basic_profile.csv")
"""Elements and action codes of DICOM PS3.15, Table E.1-1, edition 2026c: the rules that MIDI-B scores by."""
OBJECTS = (".dcm", "_rtstruct.dcm", "_sr.dcm")
"""Ends of the names of SEG, RT structure set and report."""
NEEDED = frozenset(
    {
        "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
        "ImageType", "PixelData", "AcquisitionNumber", "InstanceNumber", "SpecificCharacterSet",
    }
)  # fmt: skip
"""Without these the file would be no slice of a scan."""
EXTRA = (
    "PositionReferenceIndicator", "ConvolutionKernel", "SequenceName", "RescaleType", "WindowCenterWidthExplanation",
    "FilterType", "TimezoneOffsetFromUTC", "ManufacturerModelName", "RetrieveURL", "LongCodeValue", "URNCodeValue",
    "TextValue", "SliceLocation", "KVP", "Exposure", "DataSetTrailingPadding",
)  # fmt: skip
"""Beside those of the profile, so that every VR with text is there."""
TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
BYTES = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}


@dataclass
class Marks:
    """Unique values by where they were put."""

    places: dict[str, str] = field(default_factory=dict)
    actions: dict[str, str] = field(default_factory=dict)

    def text(self, place: str) -> str:
        """A name that nothing else has."""
        mark = f"Zq{len(self.places):04d}xW"
        self.places[mark] = place
        return mark

    def value(self, vr: str, place: str) -> object:
        """A value of a VR that nothing else has; None where it cannot hold one."""
        number = len(self.places)
        if vr in TEXT:
            return self.text(place)
        if vr in BYTES:
            return self.text(place).encode()
        mark = {
            "DA": f"1871{1 + number % 12:02d}{1 + number % 28:02d}",
            "DT": f"187105071113{number % 60:02d}.73{number:04d}",
            "TM": f"111317.73{number:04d}", "DS": f"73.10{number:05d}", "IS": f"7310{number:05d}",
            "UI": f"1.2.840.99731.{number}.4711", "AS": f"{number % 1000:03d}Y",
        }.get(vr)  # fmt: skip
        if mark is not None and vr != "AS":
            self.places[mark] = place
        return mark

    def found_in(self, content: bytes | str) -> dict[str, str]:
        """Mark -> place of those that some content carries."""
        data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        every = re.compile(b"|".join(re.escape(mark.encode()) for mark in self.places))
        return {mark.decode(): self.places[mark.decode()] for mark in set(every.findall(data))}


def profile() -> list[tuple[int, str]]:
    """(tag, action) of the basic profile; group 2 is the file's, group 0 the network's and 4 the index's."""
    rows = [(int(row["tag"], 16), row["action"]) for row in csv.DictReader(PROFILE.open())]
    return [(tag, action) for tag, action in rows if tag >> 16 > 4]


def marked_header(marks: Marks) -> FileDataset:
    """A unique value in every element of the profile and more, in nested items, private blocks and group 2."""
    preamble = marks.text("preamble").encode().ljust(128, b"\0")
    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=preamble)
    tags = [tag for tag, _ in profile()] + [pydicom.datadict.tag_for_keyword(name) for name in EXTRA]
    kept = {pydicom.datadict.tag_for_keyword(name) for name in NEEDED}
    for tag in tags:
        if tag is None or tag in kept:
            continue
        try:
            vr = dictionary_VR(tag).split(" ")[0]
        except KeyError:
            vr = "LO"
        if vr == "SQ":
            item = Dataset()
            item.add_new(0x00080104, "LO", marks.text(f"item of {tag:08X}"))
            inner = Dataset()
            inner.add_new(0x00100010, "PN", marks.text(f"inner item of {tag:08X}"))
            item.add_new(0x00081110, "SQ", [inner])
            dataset.add_new(tag, "SQ", [item])
        elif (value := marks.value(vr, f"{tag:08X}")) is not None:
            dataset.add_new(tag, vr, value)
    for group in (0x0009, 0x0019, 0x0029, 0x6001):
        block = dataset.private_block(group, marks.text(f"private creator {group:04X}"), create=True)
        for number, vr in enumerate(("LO", "PN", "UN", "UT", "OB")):
            block.add_new(number, vr, marks.value(vr, f"private element {group:04X} {vr}"))
    dataset.file_meta.SourceApplicationEntityTitle = marks.text("group 2")
    dataset.file_meta.ImplementationVersionName = marks.text("group 2")
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = marks.text("group 2, private").encode()
    return dataset


@dataclass
class Cohort:
    """Scans of which every name and every element is marked."""

    folder: Path
    marks: Marks
    names: Marks
    """Of the NIfTI file, which names its case unless that is told not to."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    marks, names = Marks(), Marks()
    top = tmp_path_factory.mktemp("work")
    plain = write_dicom(top / "plain", Stack(np.arange(12) * 5.0, tilt_deg=0.0, size=40, pixel_mm=2.5), Head())
    place = top / "in" / marks.text("folder") / marks.text("folder below")
    place.mkdir(parents=True)
    marked = marked_header(marks)
    with zipfile.ZipFile(place.parent / f"{marks.text('zip name')}.zip", "w") as archive:
        archive.comment = marks.text("zip comment").encode()
        for file in sorted(plain.iterdir()):
            dataset = pydicom.dcmread(file)
            dataset.update(marked)
            dataset.file_meta.update(marked.file_meta)
            dataset.preamble = marked.preamble
            dataset.save_as(place / f"{marks.text('file name')}.dcm")
            dataset.SeriesInstanceUID += ".7"
            dataset.SOPInstanceUID += ".7"
            dataset.save_as(top / "member")
            archive.write(top / "member", f"{marks.text('member folder')}/{marks.text('member')}.dcm")
    broken = place / marks.text("folder of a broken series")
    broken.mkdir()
    for number, file in enumerate(sorted(plain.iterdir())[:4]):
        dataset = pydicom.dcmread(file)
        dataset.update(marked)
        dataset.SeriesInstanceUID += ".8"
        dataset.SOPInstanceUID += ".8"
        if number == 2:
            dataset.PixelData = dataset.PixelData[:100]
        dataset.save_as(broken / f"{marks.text('name of a broken slice')}.dcm")
    return Cohort(top / "in", marks, names)


def leaks(folder: Path, marks: Marks, messages: str, *, seg: bool = True) -> dict[str, set[str]]:
    """Where marks are -> which places they come from; `seg` also looks into DICOM objects."""
    found: dict[str, set[str]] = defaultdict(set)
    for where, content in everything(folder, messages, seg=seg):
        for place in marks.found_in(content).values():
            found[where].add(place)
    return dict(found)


def everything(folder: Path, messages: str, *, seg: bool) -> Iterator[tuple[str, bytes | str]]:
    """Names and bytes of all files of an output, unpacked where they are packed, and what was said."""
    yield "messages", messages
    for path in sorted(folder.rglob("*")):
        yield f"name of {path.name}", path.name
        if path.is_file() and (seg or path.suffix != ".dcm"):
            data = path.read_bytes()
            yield path.name, gzip.decompress(data) if path.suffix == ".gz" else data


@pytest.fixture
def temporary_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of all temporary files and folders that were made."""
    made: list[str] = []
    for name in ("mkstemp", "mkdtemp"):
        real = getattr(tempfile, name)

        def spy(*args: object, real: object = real, **options: object) -> object:
            result = real(*args, **options)  # type: ignore[operator]
            made.append(str(result[1] if isinstance(result, tuple) else result))
            return result

        monkeypatch.setattr(tempfile, name, spy)
    return made


def call(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main([*argv, "--workers", "0"])
    return code, "".join(capsys.readouterr())


@pytest.mark.parametrize("as_json", [False, True])
def test_segment_carries_no_mark_but_in_its_dicom_objects(
    cohort: Cohort, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], temporary_names: list[str],
    as_json: bool,
) -> None:  # fmt: skip
    argv = ["segment", str(cohort.folder), "--model", str(model), "-o", str(tmp_path / "out"), "--device", "cpu"]
    flags = ["--probabilities", "--rtstruct", "--sr", "--label-tables", *(["--json"] if as_json else [])]
    code, said = call([*argv, *flags], capsys)
    assert code == 1, said  # the broken series
    assert said.count("100 of") or "KiB of pixel data" in said, said
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2
    assert leaks(tmp_path / "out", cohort.marks, said + " ".join(temporary_names), seg=False) == {}
    reports = sorted((tmp_path / "out").glob("*_sr.dcm"))
    assert len(reports) == 2
    for report in reports:
        seg, *others = (
            set(cohort.marks.found_in(report.with_name(report.name.replace("_sr.dcm", end)).read_bytes()).values())
            for end in OBJECTS
        )
        for carried in (seg, *others):
            assert {"00100010", "00100020"} <= carried, "an archive files it by name and number of the patient"
            assert carried <= seg, "of patient and study alone, as the segmentation"


def test_preprocess_carries_no_mark(
    cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str], temporary_names: list[str]
) -> None:
    argv = ["preprocess", str(cohort.folder), "--domain", "ct", "--size", "32", "-o", str(tmp_path / "set")]
    code, said = call([*argv, "--brain", "whole-head", "--set", "min_brain_mm2=0"], capsys)
    assert code == 1, said
    assert leaks(tmp_path / "set", cohort.marks, said + " ".join(temporary_names)) == {}


READERS: dict[str, list[str]] = {
    "inspect": ["inspect", "IN"],
    "inspect --json": ["inspect", "IN", "--json"],
    "inspect --headers-only": ["inspect", "IN", "--headers-only"],
    "match": ["match", "--src", "MR", "--tgt", "IN", "--top", "1", "-o", "OUT/pairs.csv"],
    "match --json": ["match", "--src", "MR", "--tgt", "IN", "--top", "1", "-o", "OUT/pairs.csv", "--json"],
    "segment --recovery": ["segment", "IN", "--model", "MODEL", "--recovery", "--fast", "--device", "cpu", "-o", "OUT"],
    "implant": [
        "implant", "IN", "--model", "MODEL", "--places", "1", "--ml", "5", "--hu", "60", "--oedema-mm", "0",
        "--device", "cpu", "-o", "OUT",
    ],
    "planted-faults": ["planted-faults", "IN", "--model", "PROFILED", "-o", "OUT"],
    "preprocess --json": [
        "preprocess", "IN", "--domain", "ct", "--size", "32", "--brain", "whole-head", "--set", "min_brain_mm2=0",
        "-o", "OUT/set", "--json",
    ],
}  # fmt: skip
EXPECTED = {"inspect --headers-only": 0, "match": 2, "match --json": 2}
"""Exit codes: the others read the broken series, too, which is 1; `match` finds no brain without a skull around it."""
WITHOUT_WORKERS = ("implant", "planted-faults", "match", "match --json")


def profiled(model: Path, folder: Path) -> Path:
    """The same model, with the default model's profile of its training scans."""
    network, header = FcnVgg16(width=4), read_header(model)
    network.load_state_dict(load_file(model / "model.safetensors"))
    known = read_header(Path(ctseg.models.__file__).with_name("default.safetensors")).input["profile"]
    folder.mkdir()
    save_model(folder / "model.safetensors", network, replace(header, input={**header.input, "profile": known}))
    return folder


@pytest.mark.parametrize("name", READERS)
def test_no_other_command_carries_a_mark(
    name: str, cohort: Cohort, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    temporary_names: list[str],
) -> None:  # fmt: skip
    """Of scans whose every name and element is marked; the DICOM objects apart."""
    places = {
        "IN": cohort.folder,
        "MODEL": model,
        "PROFILED": profiled(model, tmp_path / "profiled"),
        "MR": toy(tmp_path / "mr", "mr", 0),
        "OUT": tmp_path / "out",
    }
    argv = [str(places.get(word.partition("/")[0], "")) + word.partition("/")[1] + word.partition("/")[2]
            if word.partition("/")[0] in places else word for word in READERS[name]]  # fmt: skip
    (tmp_path / "out").mkdir()
    capsys.readouterr()
    code = main([*argv, *([] if name in WITHOUT_WORKERS else ["--workers", "0"])])
    said = "".join(capsys.readouterr())
    assert code == EXPECTED.get(name, 1), (code, said)
    assert len(said) > 20
    assert leaks(tmp_path, cohort.marks, said + " ".join(temporary_names), seg=False) == {}


def split_object(folder: Path, plain: Path, marks: Marks) -> None:
    """One enhanced object of two phases, marked at every place."""
    slices = []
    for phase in (1, 2):
        for file in sorted(plain.iterdir()):
            item = pydicom.dcmread(file)
            item.update({pydicom.datadict.tag_for_keyword(name): pydicom.DataElement(
                pydicom.datadict.tag_for_keyword(name), dictionary_VR(name), value)
                for name, value in OF_SLICES.items() if name not in item})  # fmt: skip
            item.AcquisitionNumber = phase
            item.PixelData = (np.frombuffer(item.PixelData, np.int16) + phase).tobytes()
            item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            slices.append(item)
    made = LegacyConvertedEnhancedCTImage(slices, generate_uid(), 1, generate_uid(), 1)
    made.update(marked_header(marks))
    made.preamble = marks.text("preamble").encode().ljust(128, b"\0")
    made.file_meta.SourceApplicationEntityTitle = marks.text("group 2")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    stacks = [marks.text("stack") for _ in range(2)]
    for group in made.PerFrameFunctionalGroupsSequence:
        [content] = group.FrameContentSequence
        content.FrameComments = marks.text("frame comments")
        content.FrameLabel = marks.text("frame label")
        content.StackID = stacks[content.FrameAcquisitionNumber - 1]
        group.private_block(0x0019, marks.text("private creator of a frame"), create=True).add_new(
            1, "PN", marks.text("private element of a frame")
        )
    shared = made.SharedFunctionalGroupsSequence[0]
    shared.private_block(0x0029, marks.text("private creator of all frames"), create=True).add_new(
        1, "LO", marks.text("private element of all frames")
    )
    shuffled(made)
    place = folder / marks.text("folder")
    place.mkdir(parents=True)
    made.save_as(place / f"{marks.text('file name')}.dcm", enforce_file_format=True)


SPLIT = {
    "segment": ["segment", "IN", "--model", "MODEL", "--device", "cpu", "--rtstruct", "--sr", "-o", "OUT/a"],
    "segment --deidentify": ["segment", "IN", "--model", "MODEL", "--device", "cpu", "--deidentify", "-o", "OUT/a"],
    "inspect": ["inspect", "IN", "--json"],
    "preprocess": [
        "preprocess", "IN", "--domain", "ct", "--size", "32", "--brain", "whole-head", "--set", "min_brain_mm2=0",
        "-o", "OUT/set",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SPLIT)
def test_an_enhanced_object_that_is_two_scans_leaves_no_mark(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], temporary_names: list[str]
) -> None:
    marks = Marks()
    plain = write_dicom(tmp_path / "plain", Stack(np.arange(12) * 5.0, tilt_deg=0.0, size=40, pixel_mm=2.5), Head())
    split_object(tmp_path / "in", plain, marks)
    [path] = (tmp_path / "in").rglob("*.dcm")
    there = marks.found_in(path.read_bytes())
    kinds = {"frame comments", "frame label", "private element of a frame", "private element of all frames", "00100010"}
    assert kinds <= set(there.values()), "what is looked for is in the object"
    (tmp_path / "out").mkdir()
    places = {"IN": tmp_path / "in", "MODEL": model, "OUT": tmp_path / "out"}
    argv = [word if word not in places else str(places[word]) for word in SPLIT[name]]
    argv = [str(tmp_path / "out" / word[4:]) if word.startswith("OUT/") else word for word in argv]
    code, said = call(argv, capsys)
    assert code == 0, said
    if name.startswith("segment"):
        assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 2, said
    assert leaks(tmp_path / "out", marks, said + " ".join(temporary_names), seg=name.endswith("deidentify")) == {}


def test_an_evaluation_carries_nothing_of_a_mask_but_its_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], temporary_names: list[str]
) -> None:
    marks = Marks()
    mask = np.zeros((40, 40, 12), np.uint8)
    mask[10:20, 10:20, 4:8] = 1
    for folder in ("pred", "ref", "images"):
        (tmp_path / folder).mkdir()
        for case in ("a", "b"):
            image = nib.Nifti1Image(mask if folder != "images" else mask.astype(np.int16) * 40, np.eye(4) * 2)
            for name in ("descrip", "aux_file", "intent_name", "db_name"):
                image.header[name] = marks.text(f"{folder} {name}").encode()
            note = nib.nifti1.Nifti1Extension("comment", marks.text(f"{folder} extension").encode())
            image.header.extensions.append(note)
            nib.save(image, tmp_path / folder / f"{case}.nii.gz")
    (tmp_path / "pred" / f"{marks.text('folder beside')}").mkdir()
    argv = ["evaluate", "--pred", "pred", "--ref", "ref", "--images", "images", "-o", "out", "--set", "resamples=100"]
    code, said = call(
        [str(tmp_path / word) if word in ("pred", "ref", "images", "out") else word for word in argv], capsys
    )
    assert code == 0, said
    assert leaks(tmp_path / "out", marks, said + " ".join(temporary_names)) == {}


def itk_masks(folder: Path, values: np.ndarray, marks: Marks) -> None:
    """Masks (X, Y, Z) in every form but NIfTI in one file, each header with text where there is a place for it."""
    sitk = pytest.importorskip("SimpleITK")
    folder.mkdir()
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    image.SetSpacing((2.0, 2.0, 2.0))
    for name in ("a.nrrd", "b.nhdr", "c.mha", "d.mhd", "e.seg.nrrd"):
        sitk.WriteImage(image, str(folder / name), False)
        data = (folder / name).read_bytes()
        if "nrrd" in name or "nhdr" in name:
            said = f"content: {marks.text(name)}\nSegment0_Name:={marks.text(name)}\nSegment0_LabelValue:=1\n"
            said += f"PatientName:={marks.text(name)}\n# {marks.text(name)}\n"
            data = data.replace(b"encoding:", said.encode() + b"encoding:", 1)
        else:
            said = f"Name = {marks.text(name)}\nComment = {marks.text(name)}\nPatientID = {marks.text(name)}\n"
            data = data.replace(b"ElementType", said.encode() + b"ElementType", 1)
        (folder / name).write_bytes(data)
    pair = nib.Nifti1Pair(values, np.diag([-2.0, -2.0, 2.0, 1.0]))
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        pair.header[name] = marks.text(f"pair {name}").encode()
    nib.save(pair, folder / "f.hdr")


def objects_beside(folder: Path, marks: Marks) -> None:
    """DICOM objects with marks in every element, under a mask's name and under none."""
    for name, modality in (("g.dcm", "SEG"), ("IM0001", "RTSTRUCT"), ("other.dcm.gz", "SEG")):
        made = marked_header(marks)
        made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        made.file_meta.TransferSyntaxUID, made.Modality = "1.2.840.10008.1.2.1", modality
        made.save_as(folder / "made", enforce_file_format=True)
        data = (folder / "made").read_bytes()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (folder / "made").unlink()
    (folder / "broken.dcm").write_bytes(data[:2000])


@pytest.mark.parametrize("broken", [False, True])
def test_no_form_of_a_mask_carries_a_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], temporary_names: list[str], broken: bool
) -> None:
    marks = Marks()
    values = np.zeros((40, 40, 12), np.uint8)
    values[10:20, 10:20, 4:8] = 1
    itk_masks(tmp_path / "ref", values, marks)
    objects_beside(tmp_path / "ref", marks)
    if broken:  # texts of a header where numbers belong, which a library would quote
        for path in sorted((tmp_path / "ref").glob("[a-e].*")):
            data = path.read_bytes()
            for word in (b"sizes: ", b"DimSize = "):
                data = data.replace(word, word + marks.text(f"size of {path.name}").encode() + b" ", 1)
            path.write_bytes(data)
    (tmp_path / "pred").mkdir()
    for case in "abcdefg":
        nib.save(nib.Nifti1Image(values, np.diag([-2.0, -2.0, 2.0, 1.0])), tmp_path / "pred" / f"{case}.nii.gz")
    out, here = tmp_path / "out", [str(tmp_path / name) for name in ("pred", "ref")]
    code, said = call(
        ["evaluate", "--pred", here[0], "--ref", here[1], "-o", str(out), "--set", "resamples=100"], capsys
    )
    assert code == 1, said  # of g there is a segmentation without pixels
    assert "g.dcm: its SegmentationType is none" in said, said
    capsys.readouterr()
    assert main(["inspect", here[1]]) in (0, 1, 2)
    said += "".join(capsys.readouterr())
    assert leaks(out, marks, said + " ".join(temporary_names)) == {}


@pytest.fixture(scope="module")
def deidentified(cohort: Cohort, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cohort]:
    """What `--deidentify` writes of the cohort, a NIfTI file with marks in its header and name, and files beside."""
    work = tmp_path_factory.mktemp("deidentified")
    shutil.copytree(cohort.folder, work / "in")
    image = nib.Nifti1Image(Head().hu(Stack(np.arange(12) * 5.0, 0.0, 40, 2.5).points()).T.astype(np.int16), np.diag([-2.5, -2.5, 5, 1]))  # fmt: skip # noqa: E501
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[name] = cohort.marks.text(f"NIfTI {name}").encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", cohort.marks.text("NIfTI extension").encode()))
    nib.save(image, work / "in" / f"{cohort.marks.text('NIfTI name')}.nii.gz")
    (work / "in" / f"{cohort.marks.text('name of an empty file')}.dcm").write_bytes(b"")
    (work / "in" / f"{cohort.marks.text('broken zip')}.zip").write_bytes(b"PK")
    (work / "in" / f"{cohort.marks.text('left out')}.mgz").write_bytes(b"x")
    return work, cohort


def test_deidentify_lets_no_mark_pass_at_all(
    deidentified: tuple[Path, Cohort], model: Path, capsys: pytest.CaptureFixture[str], temporary_names: list[str]
) -> None:
    work, cohort = deidentified
    argv = ["segment", str(work / "in"), "--model", str(model), "-o", str(work / "out"), "--device", "cpu"]
    code, said = call([*argv, "--deidentify", "--rtstruct", "--sr", "--label-tables"], capsys)
    assert code == 1, said
    assert len(list((work / "out").glob("*.nii.gz"))) == 3
    assert [len(list((work / "out").glob(f"*{end}"))) for end in OBJECTS] == [6, 2, 2]
    assert leaks(work / "out", cohort.marks, said + " ".join(temporary_names)) == {}
    done, asked = midi_score(cohort, work / "out")
    print(f"required actions of the basic profile done: {done} of {asked}, {100 * done / asked:.1f} %")  # noqa: T201
    assert done == asked


def midi_score(cohort: Cohort, out: Path) -> tuple[int, int]:
    """(required actions that are done, that are asked) over the elements of the source, in every DICOM object.

    X asks that the element is gone, Z and D that its value is gone, U that UIDs are kept alike, by the Retain UIDs
    Option, or gone: the four that name study, series, slice and frame of reference are the references.
    """
    source = pydicom.dcmread(next(cohort.folder.rglob("*.dcm")))
    done = asked = 0
    for file in sorted(out.glob("*.dcm")):
        seg = pydicom.dcmread(file)
        for tag, action in profile():
            if tag not in source:
                continue
            asked += 1
            done += is_done(action, tag, source, seg)
    return done, asked


def is_done(action: str, tag: int, source: Dataset, seg: Dataset) -> bool:
    """Whether an action was taken on one element."""
    if tag not in seg:
        return True
    if action == "U":
        return tag in OWN_UIDS or seg[tag].value == source[tag].value
    return bool(seg[tag].value != source[tag].value)


OWN_UIDS = frozenset({0x00080018, 0x0020000E})
"""SOPInstanceUID and SeriesInstanceUID of the SEG are new: it is another object."""
