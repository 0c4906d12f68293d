"""Seeded byte mutation of every file that ctseg reads: nothing but ctseg's own errors may come out.

`python tests/fuzz/fuzz_readers.py 100000` (or `make fuzz`) makes a small corpus, spoils its files one at a time and
reads them. A failure prints reader, seed and traceback; `--only READER --seed N` repeats it.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from pydicom.dataset import Dataset
from torch import nn

sys.path.append(str(Path(__file__).parents[1]))
from rt_files import borders, rtstruct
from seg_files import ct, seg
from toy_sets import head, mask

from ctseg.checkpoints import load_checkpoint, save_checkpoint
from ctseg.cli.demo_study import result_rows
from ctseg.cli.main import main
from ctseg.cli.warm_start import recorded
from ctseg.errors import CtsegError, InputError
from ctseg.evaluation.cases import read_table
from ctseg.files import write_json
from ctseg.inference.results import CaseResult, ResultTable, provenance, start_folder
from ctseg.io.dicom.rtstruct import read_rtstruct
from ctseg.io.discover import discover, read_case
from ctseg.io.input_digests import file_sha256
from ctseg.io.mask_files import Unread, about_unread, mask_folder
from ctseg.io.masks import load_mask
from ctseg.io.outlines import outlines_on
from ctseg.io.placing import placed
from ctseg.io.rsna_labels import read_labels
from ctseg.io.seg_masks import seg_on
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import open_slices
from ctseg.io.source import Source
from ctseg.io.spanning import spanned
from ctseg.matching.pairs import read_pairs
from ctseg.models import known_models, look_at_all, read_card
from ctseg.models.card_files import CARD_SCHEMA
from ctseg.outputs import new_folder, read_mark
from ctseg.preprocess.labels import read_splits
from ctseg.runs import ModelHeader, check_resume, load_model, read_header, read_metrics, save_model, write_toml
from ctseg.settings import parse_overrides
from ctseg.study import read_study, run_study

HEADER = ModelHeader("segmenter", "tiny", {"width": 2}, "ctseg", "0.1", {"size": [8, 8]}, {"seed": 1})
CARD = {
    "schema": CARD_SCHEMA, "summary": "Segments", "licence": "CC0-1.0", "ct_labels": False, "limits": ["finds nothing"],
    "made": {"command": "ctseg das-train", "machine": "two cores", "seconds": 61, "seeds": [3]},
    "training_data": [{"name": "phantom", "licence": "Apache-2.0", "use": "images and labels"}],
    "measured": [{"data": "heads", "metric": "Dice", "value": 0.8, "low": 0.7, "high": 0.9, "cases": 12}],
}  # fmt: skip
TOKENS = (
    b"", b"null", b"nan", b"-1", b"0", b"1e999", b"[]", b"{}", b'"', b"true", b"\x00", b"\xff\xfe", b",", b"\n",
    b"99999999999999999999", b"[[", b"\xef\xbb\xbf", b"a" * 300,
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One kind of file and what reads it."""

    file: str
    """Below the corpus."""
    read: Callable[[Path], object]
    """Gets the corpus."""
    every: int = 1
    """Whole commands take longer, so that only each n-th turn is theirs."""


def build(header: ModelHeader) -> nn.Module:
    return nn.Conv2d(1, 2, 3)


def make_corpus(folder: Path) -> None:
    """A small valid file of every kind."""
    table = pd.DataFrame({
        "slice_id": ["a", "b", "c"], "patient_id": ["p", "p", "q"], "series_id": ["s", "s", "t"], "index": [0, 1, 0],
        "z_mm": [0.0, 5.0, 0.0], "spacing_row_mm": 1.0, "spacing_col_mm": 1.0, "brain_px": 5, "lesion_px": 0,
        "split": ["train", "train", "val"],
    })  # fmt: skip
    for name, domain in (("mr", "mr"), ("ct", "ct")):
        with new_folder(folder / name, kind="preprocess") as made:
            write_slices(
                made, domain=domain, images=np.zeros((3, 8, 8), np.uint8), masks=np.zeros((3, 8, 8), np.uint8),
                table=table, intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings={"size": 8},
            )  # fmt: skip
    run = folder / "run"
    run.mkdir()
    module = build(HEADER)
    save_model(run / "model.safetensors", module, HEADER)
    save_checkpoint(run, {"epoch": 1, "state": module.state_dict(), "rows": [1, 2.5, "x"]})
    write_toml(run / "config.toml", {"seed": 1, "settings": {"epochs": 2}, "inputs": {"pairs": "abc"}, "from": "x"})
    (run / "metrics.jsonl").write_text('{"epoch": 0, "loss": 1.5}\n{"epoch": 1, "loss": 1.0}\n')
    (folder / "models").mkdir()
    weights = save_model(folder / "models" / "named.safetensors", module, HEADER)
    write_json(folder / "models" / "named.json", {**CARD, "sha256": file_sha256(weights)})
    masks = folder / "masks"
    masks.mkdir()
    rows = ResultTable(masks, provenance({"threshold": 0.5}, [{"weights": "abc"}]), ["case"], {})
    rows.add(CaseResult("case", "ok", ml=1.5, lesions=1, input="abc"))
    rows.save()
    rng = np.random.default_rng(0)
    head = np.where(np.indices((12, 12, 6))[0] > 3, rng.normal(500, 9, (12, 12, 6)), 0).astype(np.float32)
    (folder / "scans").mkdir()
    nib.save(nib.Nifti1Image(head, np.diag([2.0, 2.0, 5.0, 1.0])), folder / "scans" / "scan.nii")
    nib.save(nib.Nifti1Image((head > 0).astype(np.uint8), np.diag([2.0, 2.0, 5.0, 1.0])), masks / "case.nii")
    write_dicom(folder / "dicom")
    with zipfile.ZipFile(folder / "scans.zip", "w") as archive:
        for path in sorted((folder / "dicom").iterdir()):
            archive.write(path, path.name)
    (folder / "pairs.csv").write_text("source_id,target_id,rank,distance\na,b,1,0.5\nb,c,1,0.7\n")
    (folder / "labels.csv").write_text("ID,Label\nID_a_any,1\nID_a_epidural,0\nID_b_any,0\nID_b_epidural,0\n")
    (folder / "splits.csv").write_text("patient_id,split\np,train\nq,val\n")
    (folder / "group.csv").write_text("case,patient\na,p\nb,q\n")
    (folder / "study.toml").write_text('[[step]]\ncommand = "match"\nsrc = "mr"\noutput = "x"\nset = { a = 1 }\n')
    state = {"match": {"key": "abc", "done": True, "code": 0, "seconds": 1.5}}
    (folder / "study.state.json").write_text(json.dumps(state))
    more_of_the_corpus(folder)


def more_of_the_corpus(folder: Path) -> None:
    """What whole commands read beside that, and the other forms of scans."""
    truth = folder / "truth"
    truth.mkdir()
    scan, bleed = head(folder / "heads", "case")
    mask(truth, "case", bleed)
    scan.with_name("case.nii").write_bytes(gzip.decompress(scan.read_bytes()))
    scan.unlink()
    sidecar = {
        "schema": "ctseg-geometry/1", "domain": "ct", "axes": [2, 1, 0], "flips": [False, False, False],
        "origins_mm": [[0, 0, 5 * k] for k in range(6)], "row_step_mm": [0, 2, 0], "col_step_mm": [2, 0, 0],
        "slab_mm": [5.0] * 6,
    }  # fmt: skip
    (folder / "masks" / "case.json").write_text(json.dumps(sidecar))
    (folder / "named.csv").write_text("case,ref,pred\ncase,case.nii,case.nii\n")
    (folder / "paths.txt").write_text(f"{folder}/heads/case.nii\n{folder}/scans\n")
    evaluation = folder / "demo" / "evaluation"
    evaluation.mkdir(parents=True)
    model = {
        "name": "a", "patients": 3, "pooled": {"dice": {"value": 0.5}}, "by_volume": {"dice": {"mean": {"value": 0.4}}},
        "detection": {"specificity": {"value": 0.9}}, "negative_cases": {"fp_ml": {"mean": {"value": 1.0}}},
    }  # fmt: skip
    (evaluation / "summary.json").write_text(json.dumps({"models": [model]}))
    save_model(folder / "demo" / "runs" / "a" / "model.safetensors", build(HEADER), HEADER)
    cache = folder / "cache"
    cache.mkdir()
    np.savez_compressed(cache / "brain.npz", brain=np.packbits(np.ones((2, 4, 4), bool)))
    image = sitk.GetImageFromArray(np.full((6, 12, 12), 30, np.int16))
    (folder / "itk").mkdir()
    sitk.WriteImage(image, str(folder / "itk" / "ct.nrrd"))
    sitk.WriteImage(image, str(folder / "itk" / "ct.mha"))
    disc = folder / "disc"
    write_dicom(disc)
    write_index(disc / "DICOMDIR", [[f"{place}.dcm"] for place in range(6)])
    with gzip.open(disc / "5.dcm.gz", "wb") as packed:
        packed.write((disc / "0.dcm").read_bytes())
    mask_forms(folder)


def mask_forms(folder: Path) -> None:
    """Masks in NRRD, MetaImage, a NIfTI pair and 3D Slicer's segmentation, objects beside one, and an enhanced CT."""
    forms = folder / "forms"
    forms.mkdir()
    values = np.zeros((6, 12, 12), np.uint8)
    values[2:4, 3:8, 4:9] = 1
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.0, 5.0))
    for name in ("nrrd.nrrd", "nhdr.nhdr", "mha.mha", "mhd.mhd"):
        sitk.WriteImage(image, str(forms / name))
    sitk.WriteImage(image, str(forms / "packed.nrrd"), True)
    nib.save(nib.Nifti1Pair(values.T, np.diag([-2.0, -2.0, 5.0, 1.0])), forms / "pair.hdr")
    lines = [
        "NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior", "sizes: 2 12 12 6",
        "space directions: none (2,0,0) (0,2,0) (0,0,5)", "kinds: list domain domain domain", "encoding: raw",
        "space origin: (0,0,0)", "Segment0_ID:=one", "Segment0_LabelValue:=1", "Segment0_Layer:=0",
        "Segment1_ID:=two", "Segment1_LabelValue:=1", "Segment1_Layer:=1",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]  # fmt: skip
    layers = np.stack([values, values[::-1]])
    (forms / "slicer.seg.nrrd").write_bytes(("\n".join(lines) + "\n\n").encode() + layers.ravel("F").tobytes())
    beside = folder / "beside"
    beside.mkdir()
    nib.save(nib.Nifti1Image(values.T, np.diag([-2.0, -2.0, 5.0, 1.0])), beside / "case.nii")
    shutil.copy(folder / "dicom" / "2.dcm", beside / "case.dcm")
    shutil.copy(folder / "dicom" / "2.dcm", beside / "IM0001")
    write_enhanced(folder / "enhanced")
    slices = ct(folder / "sources", [(0.0, 0.0, 5.0 * k) for k in range(6)], spacing=(2.0, 2.0), shape=(12, 12))
    for form, kind in {"binary": "BINARY", "labels": "LABELMAP", "case": "BINARY"}.items():
        seg(
            folder / ("segs" if form == "case" else "forms") / f"{form}.dcm",
            slices,
            values + np.roll(values, 2, 1),
            kind,
        )
    drawn = borders(values)
    rtstruct(folder / "rts" / "case.dcm", slices, {1: drawn, 2: [(k, points / 2 + 3) for k, points in drawn]})


def write_enhanced(folder: Path) -> None:
    """An enhanced CT of two phases of three frames."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

    folder.mkdir()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = EnhancedCTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    made = FileDataset(str(folder / "ct.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = EnhancedCTImageStorage, "1.2.3.9", "CT"
    made.SeriesInstanceUID, made.StudyInstanceUID, made.FrameOfReferenceUID = "1.2.4.9", "1.2.5", "1.2.6"
    made.PatientID, made.Rows, made.Columns, made.NumberOfFrames = "x", 12, 12, 6
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 15, 1, 1
    made.PhotometricInterpretation, made.ImageType = "MONOCHROME2", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.DimensionIndexSequence = [item(DimensionIndexPointer=0x00209128, FunctionalGroupPointer=0x00209111)]
    made.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[2.0, 2.0], SliceThickness=5)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=0, RescaleType="HU")],
        )
    ]
    made.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[item(TemporalPositionIndex=time, DimensionIndexValues=[time], StackID="1")],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 5 * place])],
        )
        for time in (1, 2)
        for place in range(3)
    ]
    values = np.full((6, 12, 12), -1000, np.int16)
    values[:, 3:9, 3:9] = 40
    made.PixelData = values.tobytes()
    made.save_as(folder / "ct.dcm", enforce_file_format=True)


def item(**elements: object) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def write_index(path: Path, names: list[list[str]]) -> None:
    """A DICOMDIR."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MediaStorageDirectoryStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    made.DirectoryRecordSequence = records = []
    for parts in names:
        records.append(Dataset())
        records[-1].DirectoryRecordType, records[-1].ReferencedFileID = "IMAGE", parts
    made.DirectoryRecordSequence = records
    made.save_as(path, enforce_file_format=True)


def write_dicom(folder: Path) -> None:
    """Five small CT slices."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir()
    for place in range(5):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = f"1.2.3.{place}"
        data = FileDataset(str(folder / f"{place}.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"1.2.3.{place}"
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
        data.PatientID, data.Modality, data.InstanceNumber = "x", "CT", place
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5 * place]
        data.PixelSpacing, data.SliceThickness = [2.0, 2.0], 5
        data.Rows = data.Columns = 12
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 1, 1
        data.PhotometricInterpretation, data.RescaleSlope, data.RescaleIntercept = "MONOCHROME2", 1, 0
        values = np.full((12, 12), -1000, np.int16)
        values[3:9, 3:9] = 40
        data.PixelData = values.tobytes()
        data.save_as(folder / f"{place}.dcm", enforce_file_format=True)


def read_scans(path: Path) -> None:
    for case in discover([path]).cases:
        read_case(case)


def read_mask(here: Path, name: str) -> None:
    """A mask in one of its forms, alone and put on the grid of its scan."""
    labels, place = load_mask(here / "forms" / name)
    scan = load_mask(here / "beside" / "case.nii")[1]
    if place.drawn is None:
        placed(labels, place, scan)
        return
    for tolerance_mm in (None, 0.1):
        seg_on(labels, place, scan, (), tolerance_mm)
    spanned(place, load_mask(here / "segs" / "case.dcm")[1])


def read_outlines(here: Path) -> None:
    """An RT structure set on the grid of its scan and of a segmentation."""
    found = read_rtstruct(Source(str(here / "rts" / "case.dcm")))
    read_rtstruct(Source(str(here / "rts" / "case.dcm")), (2,))
    scan = load_mask(here / "beside" / "case.nii")[1]
    for tolerance_mm in (None, 0.1):
        outlines_on(found, scan, (), (), tolerance_mm)


def read_beside(here: Path) -> None:
    """What lies beside masks is looked at and said; nothing of it is an error, or carries text of a file."""
    about_unread([*mask_folder(here / "beside").unread, Unread("x", "MINC")])


def read_models(folder: Path) -> None:
    """What `ctseg models --json` does; a broken model is a row, so nothing may come out."""
    [info] = look_at_all(known_models([], folder))
    json.dumps(info.row())
    if info.error:
        raise InputError(info.error)


def text_of(path: Path) -> str:
    return "a=" + path.read_text(encoding="utf-8", errors="surrogateescape")


def read_state(folder: Path) -> None:
    run_study(read_study(folder / "study.toml"), lambda argv: 0)


def command(*argv: str) -> None:
    """A whole command into a new output: its exit code is 0, 1 or 2, and an error is one line.

    Raises:
        CtsegError: with the line, if it is 2.
    """
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard), contextlib.redirect_stdout(io.StringIO()):
        code = main(["-q", *argv])
    lines = heard.getvalue().splitlines()
    if code == 2 and len(lines) == 1 and lines[0].startswith("ctseg: error: "):
        raise CtsegError(lines[0])
    if code not in (0, 1) or lines:
        raise AssertionError(f"exit code {code}, stderr {lines[:3]}")


def evaluated(here: Path, *more: str, pred: str = "masks", ref: str = "masks") -> None:
    out = here / "evaluated"
    try:
        command(
            "evaluate", "--pred", str(here / pred), "--ref", str(here / ref), "-o", str(out),
            "--set", "resamples=100", "--set", "permutations=100", *more,
        )  # fmt: skip
    finally:
        shutil.rmtree(out, ignore_errors=True)


def preprocessed(here: Path, raw: str, *more: str) -> None:
    out = here / "preprocessed"
    try:
        command(
            "preprocess", str(here / raw), "-o", str(out), "--size", "32", "--workers", "0", "--domain", "ct", *more
        )
    finally:
        shutil.rmtree(out, ignore_errors=True)


def matched(here: Path) -> None:
    out = here / "made.csv"
    try:
        command("match", "--src", str(here / "mr"), "--tgt", str(here / "ct"), "-o", str(out), "--top", "1")
    finally:
        for path in (out, here / ".made.csv.ctseg.json"):
            path.unlink(missing_ok=True)


def ran(here: Path) -> None:
    """A study of a step that does nothing but list plugins."""
    command("run", str(here / "study.toml"), "--print")


def read_cache(here: Path) -> None:
    from ctseg.inference.brain_cache import _read

    _read(here / "cache" / "brain.npz", (2, 4, 4))


READERS = {
    "match": Reader("mr/slices.csv", matched, every=20),
    "match, dataset.json": Reader("ct/dataset.json", matched, every=20),
    "evaluate, sidecar": Reader("masks/case.json", evaluated, every=20),
    "evaluate, mask": Reader("truth/case.nii.gz", lambda here: evaluated(here, pred="truth", ref="truth"), every=20),
    "evaluate, DICOM SEG": Reader("segs/case.dcm", lambda here: evaluated(here, ref="segs"), every=20),
    "RTSTRUCT": Reader("rts/case.dcm", read_outlines),
    "evaluate, RTSTRUCT": Reader("rts/case.dcm", lambda here: evaluated(here, ref="rts"), every=20),
    "evaluate, volumes.csv": Reader("masks/volumes.csv", evaluated, every=20),
    "evaluate, volumes.json": Reader("masks/volumes.json", evaluated, every=20),
    "evaluate, cases": Reader("named.csv", lambda here: evaluated(here, "--cases", str(here / "named.csv")), every=20),
    "evaluate, group": Reader("group.csv", lambda here: evaluated(here, "--group", str(here / "group.csv")), every=20),
    "evaluate, labels": Reader(
        "labels.csv", lambda here: evaluated(here, "--labels", str(here / "labels.csv")), every=20
    ),
    "preprocess, NIfTI": Reader("heads/case.nii", lambda here: preprocessed(here, "heads"), every=20),
    "preprocess, masks": Reader(
        "truth/case.nii.gz", lambda here: preprocessed(here, "heads", "--masks", str(here / "truth")), every=20
    ),
    "preprocess, splits": Reader(
        "splits.csv", lambda here: preprocessed(here, "heads", "--splits", str(here / "splits.csv")), every=20
    ),
    "preprocess, list": Reader("paths.txt", lambda here: preprocessed(here, "paths.txt"), every=20),
    "run": Reader("study.toml", ran, every=5),
    "summary.json": Reader("demo/evaluation/summary.json", lambda here: result_rows(here / "demo")),
    "brain cache": Reader("cache/brain.npz", read_cache),
    "NRRD": Reader("itk/ct.nrrd", lambda here: read_scans(here / "itk" / "ct.nrrd")),
    "MetaImage": Reader("itk/ct.mha", lambda here: read_scans(here / "itk" / "ct.mha")),
    **{
        f"mask, {name}": Reader(f"forms/{name}", lambda here, form=form: read_mask(here, form))
        for name, form in {
            "nrrd.nrrd": "nrrd.nrrd",
            "packed.nrrd": "packed.nrrd",
            "nhdr.nhdr": "nhdr.nhdr",
            "nhdr.raw": "nhdr.nhdr",
            "slicer.seg.nrrd": "slicer.seg.nrrd",
            "mha.mha": "mha.mha",
            "mhd.mhd": "mhd.mhd",
            "mhd.raw": "mhd.mhd",
            "pair.hdr": "pair.hdr",
            "pair.img": "pair.hdr",
            "binary.dcm": "binary.dcm",
            "labels.dcm": "labels.dcm",
        }.items()
    },
    "DICOM beside masks": Reader("beside/case.dcm", read_beside),
    "DICOM without a suffix": Reader("beside/IM0001", read_beside),
    "DICOM, enhanced": Reader("enhanced/ct.dcm", lambda here: read_scans(here / "enhanced")),
    "DICOMDIR": Reader("disc/DICOMDIR", lambda here: discover([here / "disc"], "ct")),
    "DICOM, gzip": Reader("disc/5.dcm.gz", lambda here: read_scans(here / "disc")),
    "--set": Reader("study.toml", lambda here: parse_overrides([text_of(here / "study.toml")])),
    "dataset.json": Reader("mr/dataset.json", lambda here: open_slices(here / "mr")),
    "slices.csv": Reader("mr/slices.csv", lambda here: open_slices(here / "mr")),
    "images.npy": Reader("mr/images.npy", lambda here: open_slices(here / "mr")),
    "masks.npy": Reader("mr/masks.npy", lambda here: open_slices(here / "mr")),
    "mark": Reader("mr/.ctseg.json", lambda here: read_mark(here / "mr")),
    "pairs.csv": Reader(
        "pairs.csv", lambda here: read_pairs(here / "pairs.csv", open_slices(here / "mr"), open_slices(here / "ct"))
    ),
    "safetensors header": Reader("run/model.safetensors", lambda here: read_header(here / "run")),
    "safetensors": Reader("run/model.safetensors", lambda here: load_model(here / "run", build, "segmenter")),
    "model card": Reader("models/named.json", lambda here: read_card(here / "models" / "named.json")),
    "named model's card": Reader("models/named.json", lambda here: read_models(here / "models")),
    "named model": Reader("models/named.safetensors", lambda here: read_models(here / "models")),
    "checkpoint.pt": Reader("run/checkpoint.pt", lambda here: load_checkpoint(here / "run")),
    "config.toml": Reader("run/config.toml", lambda here: (recorded(here / "run"), check_resume(here / "run", {}))),
    "metrics.jsonl": Reader("run/metrics.jsonl", lambda here: read_metrics(here / "run", 1)),
    "volumes.json": Reader(
        "masks/volumes.json",
        lambda here: start_folder(
            here / "masks", provenance({"threshold": 0.5}, [{"weights": "abc"}]), resume=True, overwrite=False
        ),
    ),
    "NIfTI mask": Reader("masks/case.nii", lambda here: load_mask(here / "masks" / "case.nii")),
    "NIfTI": Reader("scans/scan.nii", lambda here: read_scans(here / "scans")),
    "DICOM": Reader("dicom/2.dcm", lambda here: read_scans(here / "dicom")),
    "zip": Reader("scans.zip", lambda here: read_scans(here / "scans.zip")),
    "study TOML": Reader("study.toml", lambda here: read_study(here / "study.toml")),
    "state.json": Reader("study.state.json", read_state),
    "labels": Reader("labels.csv", lambda here: read_labels(here / "labels.csv")),
    "splits": Reader("splits.csv", lambda here: read_splits(here / "splits.csv")),
    "table": Reader("group.csv", lambda here: read_table(here / "group.csv", ("case", "patient"))),
}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: bits, bytes, cuts, repeats, and tokens that parsers stumble over.

    Changes fall on the first 1,500 bytes half of the time, where headers are.
    """
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        end = len(changed) if rng.random() < 0.5 else min(len(changed), 1500)
        place = rng.randrange(end) if end else 0
        kind = rng.randrange(7)
        if kind == 0 and changed:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and changed:
            changed[place] = rng.randrange(256)
        elif kind == 2:
            del changed[place : place + rng.randint(1, 40)]
        elif kind == 3:
            changed[place:place] = changed[place : place + rng.randint(1, 60)]
        elif kind == 4:
            changed[place : place + rng.randint(0, 12)] = rng.choice(TOKENS)
        elif kind == 5:
            del changed[place:]
        else:
            changed[place:place] = rng.randbytes(rng.randint(1, 8))
    return bytes(changed)


def attempt(reader: Reader, corpus: Path, data: bytes) -> str:
    """Read the corpus with one file changed: 'read', 'refused', or the traceback of what came out."""
    file = corpus / reader.file
    whole = file.read_bytes()
    file.write_bytes(data)
    try:
        reader.read(corpus)
    except CtsegError as error:
        return "refused" if str(error) and "\n" not in str(error) else f"no single line: {error!r}"
    except BaseException:
        return traceback.format_exc()
    finally:
        file.write_bytes(whole)
    return "read"


def fuzz(count: int, names: list[str], seed: int, limit_s: float = float("inf")) -> tuple[Counter[str], list[str]]:
    """Read `count` spoilt files, the readers in turn.

    Returns:
        how often each outcome came, and the failures with what repeats them.
    """
    outcomes: Counter[str] = Counter()
    failures: dict[str, str] = {}
    ends = time.monotonic() + limit_s
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        corpus = Path(place)
        make_corpus(corpus)
        for number in range(seed, seed + count):
            name = names[number % len(names)]
            reader = READERS[name]
            if (number // len(names)) % reader.every:
                continue
            data = mutate((corpus / reader.file).read_bytes(), random.Random(number))
            found = attempt(reader, corpus, data)
            outcomes[f"{name}: {found if found in ('read', 'refused') else 'FAILED'}"] += 1
            if found not in ("read", "refused"):
                last = found.strip().splitlines()
                where = next((line for line in reversed(last) if "ctseg/" in line), "")
                failures.setdefault(f"{name} {where} {last[-1][:80]}", f"{name}, seed {number}\n{found}")
            if time.monotonic() > ends:
                break
    return outcomes, list(failures.values())


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=READERS, action="append")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    given = parser.parse_args()
    torch.set_num_threads(1)
    outcomes, failures = fuzz(given.count, given.only or list(READERS), given.seed, given.seconds)
    lines = [*failures, *(f"{name}: {number}" for name, number in sorted(outcomes.items()))]
    lines.append(f"{sum(outcomes.values())} files, {len(failures)} different failures")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(run())
