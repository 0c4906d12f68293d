"""Two DICOM masks of one case have a part of the grid each; they are measured on the scan that is given."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from measured_masks import FAST, SAGITTAL, as_read, predicted, save
from rt_files import borders, nameless, rtstruct
from seg_files import NAME, TILTED, UNEVEN, ct, lesions, scan_of, seg

from ctseg.evaluation import score
from ctseg.evaluation.evaluate import Evaluation, evaluate
from ctseg.evaluation.grids import TWO_PARTS
from ctseg.evaluation.score import MISSING
from ctseg.inference.dicom_rtstruct import write_rtstruct
from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.io.discover import read_case
from ctseg.io.mask_files import mask_folder
from ctseg.io.outlines import ONE_SLICE

pytestmark = pytest.mark.slow

GEOMETRIES = {
    "uneven": {"origins": UNEVEN},
    "tilted": {"origins": TILTED},
    "sagittal": {"origins": SAGITTAL, "along": (0, 1, 0), "down": (0, 0, -1)},
}


def written(folder: Path, kinds: tuple[str, str], **geometry: object) -> Path:
    """A scan in `ct`, and a reference and a prediction of it, each as an object of the kind and as NIfTI."""
    sources = ct(folder / "ct", **geometry)
    volume = scan_of(folder / "ct")
    for side, kind, mask in zip(("ref", "pred"), kinds, (lesions() > 0, predicted() > 0), strict=True):
        path = folder / side / "a.dcm"
        if kind == "seg":
            seg(path, sources, mask.astype(np.uint8), segments=1)
        else:
            rtstruct(path, sources, {1: borders(mask)})
        save(folder / f"{side}-nifti", volume, as_read(mask, sources, volume))
    return folder


def done(
    folder: Path, *, images: str = "ct", suffix: str = "", out: str = "out", workers: int = 0, **settings: object
) -> Evaluation:
    return evaluate(
        folder / f"pred{suffix}", folder / f"ref{suffix}", folder / out, images=folder / images if images else None,
        settings=FAST.model_copy(update=settings), workers=workers,
    )  # fmt: skip


def assert_same(one: Evaluation, other: Evaluation) -> None:
    """The sidecar of a NIfTI mask rounds positions to 1e-7 mm, and its scan does not."""
    tables = [found.cases.drop(columns=["model", "case", "patient", "message"]) for found in (one, other)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("kinds", [("rt", "rt"), ("seg", "rt"), ("rt", "seg"), ("seg", "seg")], ids="-".join)
def test_they_have_the_numbers_of_nifti(tmp_path: Path, kinds: tuple[str, str], name: str) -> None:
    """Two RTSTRUCT had been refused, and mL of two SEG of an uneven scan had been those of even slices."""
    folder = written(tmp_path, kinds, **GEOMETRIES[name])
    one, other = done(folder, workers=2 if kinds == ("rt", "rt") else 0), done(folder, suffix="-nifti", out="nifti")
    assert one.failed == ()
    assert_same(one, other)
    assert one.cases["message"].tolist() == [""]
    assert "black background" not in "".join(one.notes)  # the scan is found by the series that the reference names
    assert one.summary["inputs"]["scans"] != ""
    assert "scans" not in other.summary["inputs"]
    for file in (folder / "out").iterdir():
        assert NAME.encode() not in file.read_bytes()


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("side", ["ref", "pred"])
def test_outlines_on_one_slice_that_they_do_not_name_are_measured_there(tmp_path: Path, side: str, name: str) -> None:
    """They had been refused, since nothing but their place tells which slice they are of; now a note says it."""
    sources = ct(tmp_path / "ct", **GEOMETRIES[name])
    volume = scan_of(tmp_path / "ct")
    one = np.zeros_like(lesions())
    one[4] = lesions()[4]
    other = {"ref": "pred", "pred": "ref"}[side]
    rtstruct(tmp_path / side / "a.dcm", sources, {1: borders(one > 0)}, change=nameless)
    seg(tmp_path / other / "a.dcm", sources, predicted(), segments=1)
    save(tmp_path / f"{side}-nifti", volume, as_read((one > 0).astype(np.uint8), sources, volume))
    save(tmp_path / f"{other}-nifti", volume, as_read(predicted(), sources, volume))
    for folder in ("ref", "pred"):  # the outlines name no scan, so that the case's name has to
        (tmp_path / folder / "a.dcm").rename(tmp_path / folder / f"{volume.case_id}.dcm")
    found, nifti = done(tmp_path), done(tmp_path, suffix="-nifti", out="nifti")
    assert found.failed == ()
    assert_same(found, nifti)
    assert found.cases["message"].tolist() == [ONE_SLICE]


def test_a_scan_is_read_once_for_all_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a scan that cannot be read, too: each model's row says why."""
    folder, read = written(tmp_path, ("rt", "seg")), []
    monkeypatch.setattr(score, "read_case", lambda case: read.append(case.case_id) or read_case(case))
    for name in ("second", "third"):
        shutil.copytree(folder / "pred", folder / name)
    preds = [folder / name for name in ("pred", "second", "third")]
    found = evaluate(preds, folder / "ref", folder / "out", images=folder / "ct", settings=FAST)
    assert (found.failed, len(found.cases), len(read)) == ((), 3, 1)
    for file in sorted((folder / "ct").iterdir())[:3]:
        file.write_bytes(file.read_bytes()[:-60])
    failed = evaluate(preds, folder / "ref", folder / "broken", images=folder / "ct", settings=FAST).failed
    assert (len(failed), len(read)) == (3, 2)


def test_without_the_scan_they_are_measured_as_before(tmp_path: Path) -> None:
    folder = written(tmp_path, ("seg", "seg"))
    assert TWO_PARTS in done(folder, images="").cases["message"][0]


def test_two_structure_sets_without_their_scan_say_what_gives_it(tmp_path: Path) -> None:
    folder = written(tmp_path, ("rt", "rt"))
    (failed,) = done(folder, images="").failed
    assert "both are RT structure sets, whose outlines have no pixels of their own; give their scan with" in failed


@pytest.mark.parametrize("kind", ["rt", "seg"])
def test_a_missing_prediction_is_an_empty_mask_of_the_scan(tmp_path: Path, kind: str) -> None:
    folder = written(tmp_path, (kind, kind), origins=UNEVEN)
    for side in ("ref-nifti", "pred-nifti", "ref", "pred"):
        suffix = ".nii.gz" if "nifti" in side else ".dcm"
        (folder / side / f"b{suffix}").write_bytes((folder / side / f"a{suffix}").read_bytes())
        if "pred" in side:
            (folder / side / f"a{suffix}").unlink()
    for name in ("ref-nifti/b.json", "pred-nifti/b.json"):
        (folder / name).write_bytes((folder / "ref-nifti/a.json").read_bytes())
    one, other = done(folder, missing="empty"), done(folder, suffix="-nifti", out="nifti", missing="empty")
    assert one.failed == ()
    assert_same(one, other)
    assert one.cases["message"].tolist() == [MISSING, ""]


def test_objects_of_segment_alone_have_the_case_of_their_mask(tmp_path: Path) -> None:
    """Their case was `CASE_rtstruct`, so that two series of one patient had been two patients."""
    ct(tmp_path / "ct", origins=UNEVEN)
    volume = scan_of(tmp_path / "ct")
    for side, mask in (("ref", lesions() > 0), ("pred", predicted() > 0)):
        (tmp_path / side).mkdir()
        path = tmp_path / side / f"{volume.case_id}_rtstruct.dcm"
        write_rtstruct(path, volume, mask, SegAlgorithm("x"))
    found = done(tmp_path)
    assert found.failed == ()
    assert found.cases["case"].tolist() == [volume.case_id]
    assert found.cases["patient"].tolist() == [volume.case_id.partition("_")[0]]
    file = next((tmp_path / "pred").iterdir())
    (alone,) = done(tmp_path, out="file").cases["case"]
    assert mask_folder(file).masks == {alone: file}


def test_another_scan_and_a_broken_one_cost_the_case_by_name(tmp_path: Path) -> None:
    folder = written(tmp_path, ("rt", "rt"))
    other = folder / "other"
    ct(other / "scan", origins=UNEVEN)
    case = scan_of(other / "scan").case_id
    for side in ("ref", "pred"):
        (folder / side / "a.dcm").rename(folder / side / f"{case}.dcm")
    (failed,) = done(folder, images="other").failed
    assert f"{case}.dcm: is of another frame of reference" in failed or "of another scan" in failed
    for file in sorted((other / "scan").iterdir())[:3]:
        file.write_bytes(file.read_bytes()[:-60])
    (failed,) = done(folder, images="other", out="broken").failed
    assert failed.startswith(f"pred: {case}: ")
    assert "\n" not in failed
