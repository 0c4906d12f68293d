"""Public voxel labels of RSNA scans, in the layouts they come in, from folder to evaluated masks on toy copies."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from segment_helpers import Head, NonAirIsBrain, Stack, bright_models

from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.files import write_json
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case

pytestmark = pytest.mark.slow

FAST = EvaluationSettings(resamples=100, permutations=100, pictured_cases=0)
PLAIN = SegmentSettings(preview=False)
IPH, SAH = 2, 4


def write_pair(image: Path, label: Path, value: int) -> None:
    """A head whose bleeding has `value`, and a patch of another class in its brain that is as dark as brain."""
    stack = Stack(np.arange(20) * 4.0, 0.0)
    points = stack.points()
    labels = Head().inside_blood(points) * value
    labels[10, :3, :3] = SAH
    affine = np.diag([1.5, 1.5, 4.0, 1.0])
    for path, voxels in ((image, Head().hu(points).astype(np.int16)), (label, labels.astype(np.uint8))):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine), path)


def segmented(inputs: list[Path], out: Path) -> list[str]:
    cases = discover(inputs, "ct").cases
    results = segment_cases(cases, bright_models(), out, PLAIN, extractor=NonAirIsBrain())
    assert {result.status for result in results} == {"ok"}
    return sorted(result.case for result in results)


@pytest.fixture
def bhsd(tmp_path):
    """BHSD: `images` and `ground truths` with files of the same name; 1 EDH, 2 IPH, 3 IVH, 4 SAH, 5 SDH."""
    folder = tmp_path / "label_192"
    for name in ("ID_0219ef88_ID_e5c1a31210", "ID_036db39b7d"):
        write_pair(folder / "images" / f"{name}.nii.gz", folder / "ground truths" / f"{name}.nii.gz", IPH)
    return folder


@pytest.fixture
def hemseg(tmp_path):
    """HemSeg-500 as its authors feed it to nnU-Net: `CASE_0000.nii.gz`, labels `CASE.nii.gz` of 0 and 1."""
    folder = tmp_path / "Dataset011_CerebralHemorrhage"
    names = ("93dde5f0a1", "416d908876")
    for name in names:
        write_pair(folder / "imagesTr" / f"{name}_0000.nii.gz", folder / "labelsTr" / f"{name}.nii.gz", 1)
    training = [{"image": f"./imagesTr/{n}_0000.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    info = {"channel_names": {"0": "CT"}, "labels": {"background": "0", "ipv_ivh": "1"}, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", {**info, "training": training, "test": []})
    return folder


@pytest.mark.parametrize("part", ["", "images"])
def test_bhsd_is_segmented_and_one_class_evaluated(bhsd, tmp_path, part):
    names = segmented([bhsd / part], tmp_path / "masks")
    assert names == ["ID_0219ef88_ID_e5c1a31210", "ID_036db39b7d"]
    settings = FAST.model_copy(update={"reference_labels": (IPH,)})
    found = evaluate(tmp_path / "masks", bhsd / "ground truths", tmp_path / "out", settings=settings)
    assert found.failed == ()
    assert found.cases["dice"].min() > 0.97
    every = evaluate(tmp_path / "masks", bhsd / "ground truths", tmp_path / "all", settings=FAST)
    assert (every.cases["ref_ml"] > found.cases["ref_ml"]).all()


def test_bhsd_labels_are_read_with_their_classes(bhsd):
    cases = discover([bhsd], "ct").cases
    assert [case.label_file.parent.name for case in cases] == ["ground truths", "ground truths"]
    assert set(np.unique(read_case(cases[0]).labels)) == {0, IPH, SAH}


def test_hemseg_is_segmented_and_evaluated_by_its_own_names(hemseg, tmp_path):
    assert segmented([hemseg], tmp_path / "masks") == ["416d908876", "93dde5f0a1"]
    settings = FAST.model_copy(update={"reference_labels": (1,)})
    found = evaluate(tmp_path / "masks", hemseg / "labelsTr", tmp_path / "out", settings=settings)
    assert found.failed == ()
    assert found.cases["dice"].min() > 0.97


def test_hemseg_labels_beside_plainly_named_scans(hemseg, tmp_path):
    """The labels alone come as `CASE.nii.gz`; the scans are made from DICOM and named by the user."""
    scans = tmp_path / "scans"
    scans.mkdir()
    for path in (hemseg / "imagesTr").iterdir():
        path.rename(scans / path.name.replace("_0000", ""))
    segmented([scans], tmp_path / "masks")
    found = evaluate(tmp_path / "masks", hemseg / "labelsTr", tmp_path / "out", settings=FAST)
    assert found.failed == ()
