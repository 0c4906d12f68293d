"""The DICOM SEG that `segment` writes is the same mask as the NIfTI file beside it, for every reader of masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from segment_helpers import UNEVEN_Z, Head, NonAirIsBrain, Stack, bright_models, write_dicom
from test_enhanced_objects import enhanced

from ctseg.errors import InputError
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.inference.outputs import write_case
from ctseg.inference.predict import Prediction, predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.io.mask_files import mask_folder
from ctseg.io.masks import load_mask, save_mask
from ctseg.preprocess.masks import with_mask

pytestmark = pytest.mark.slow
STACKS = {
    "even": Stack(np.arange(-30.0, 31.0, 5.0), 0.0), "tilted": Stack(np.arange(-30.0, 31.0, 5.0)),
    "tilted, uneven": Stack(UNEVEN_Z), "enhanced": Stack(UNEVEN_Z), "deidentified": Stack(UNEVEN_Z),
}  # fmt: skip
FAST = EvaluationSettings(resamples=100, permutations=100, pictured_cases=1)

Case = tuple[Prediction, Path]


@pytest.fixture(scope="module", params=list(STACKS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """What was found, and the folder of what `segment` writes."""
    root = tmp_path_factory.mktemp("back")
    series = write_dicom(root / "series", STACKS[request.param], Head())
    if request.param == "enhanced":
        (root / "object").mkdir()
        enhanced(series).save_as(root / "object" / "a.dcm", enforce_file_format=True)
        series = root / "object"
    found = predict_volume(read_case(discover(series).cases[0]), bright_models(), SegmentSettings(), NonAirIsBrain())
    (root / "out").mkdir()
    settings = SegmentSettings(rtstruct=True, sr=True, preview=False, deidentify=request.param == "deidentified")
    assert write_case(root / "out", "case", found, settings, SegAlgorithm("bright")) == []
    return found, root / "out"


def alone(out: Path, folder: Path) -> Path:
    """The DICOM objects without the NIfTI file."""
    folder.mkdir()
    for file in out.glob("*.dcm"):
        shutil.copy(file, folder)
    return folder


def test_beside_its_nifti_file_it_is_no_mask_and_alone_it_is_the_one(case: Case, tmp_path: Path) -> None:
    _, out = case
    assert [file.name for file in mask_folder(out).masks.values()] == ["case.nii.gz"]
    assert mask_folder(out).unread == ()
    found = mask_folder(alone(out, tmp_path / "seg"))
    assert [file.name for file in found.masks.values()] == ["case.dcm"]
    assert found.unread == ()


def test_on_its_scan_it_is_the_mask(case: Case) -> None:
    found, out = case
    labelled = with_mask(found.volume, out / "case.dcm", out)
    np.testing.assert_array_equal(labelled.labels, found.mask)
    assert labelled.notes == found.volume.notes
    np.testing.assert_array_equal(load_mask(out / "case.nii.gz")[0], found.mask)


@pytest.mark.parametrize("side", ["pred", "ref"])
def test_an_evaluation_has_the_same_numbers(case: Case, tmp_path: Path, side: str) -> None:
    found, out = case
    reader = np.roll(found.mask, 1, axis=1)
    reader[: len(reader) // 2] &= found.mask[: len(reader) // 2]
    (tmp_path / "reader").mkdir()
    save_mask(tmp_path / "reader" / "case.nii.gz", found.volume, reader)
    (tmp_path / "nifti").mkdir()
    for name in ("case.nii.gz", "case.json"):
        shutil.copy(out / name, tmp_path / "nifti")
    tables = []
    for form in (tmp_path / "nifti", alone(out, tmp_path / "seg")):
        if side == "ref" and form.name == "seg":  # ctseg's own masks behind --ref are taken for swapped
            with pytest.raises(InputError, match="swap --pred and --ref"):
                evaluate(tmp_path / "reader", form, tmp_path / "x", settings=FAST)
            continue
        pred, ref = (form, tmp_path / "reader") if side == "pred" else (tmp_path / "reader", form)
        made = evaluate(pred, ref, tmp_path / f"evaluated {form.name}", settings=FAST)
        assert made.failed == ()
        tables.append(made.cases.drop(columns="model").to_dict("records"))
    assert all(table == tables[0] for table in tables)
    assert tables[0][0]["dice"] > 0.5
