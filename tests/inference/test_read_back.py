"""What `segment` writes of any geometry, `evaluate` reads: Dice 1, and the mL of `volumes.csv`, in every form."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from seg_files import ct
from segment_helpers import NonAirIsBrain, bright_models
from test_enhanced_objects import enhanced

from ctseg.evaluation.cases import match_cases
from ctseg.evaluation.scans import Scans, with_scans
from ctseg.evaluation.score import Score, score_case
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover

pytestmark = pytest.mark.slow

FORMS = ("nifti", "seg", "rtstruct")
ROWS, COLUMNS, ROW_MM, COLUMN_MM = 48, 56, 1.8, 1.6
AXIAL, SAGITTAL, CORONAL = ((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, -1)), ((1, 0, 0), (0, 0, -1))
THICK, THIN, UNEVEN = (
    np.arange(0, 61, 5.0),
    np.arange(0, 81, 2.5),
    np.cumsum([0, 4, 4, 5, 5, 3, 3, 4, 6, 4, 5, 2, 5, 4]),
)
LESIONS = (((14, -10, 4), (9, 12, 9)), ((-20, 12, -14), (7, 6, 6)))
"""Centre and half axes, LPS mm; slices without a lesion lie between them, whichever way these are."""


@dataclass(frozen=True)
class Series:
    """The directions of its rows and columns, its slices, and how far each is shifted for a mm of height."""

    plane: tuple[Sequence[float], Sequence[float]] = AXIAL
    heights_mm: Sequence[float] = tuple(THICK)
    shift: Sequence[float] = (0, 0, 0)

    def write(self, folder: Path) -> None:
        """The head with two lesions, as a DICOM series."""
        along, down = (np.array(direction, float) for direction in self.plane)
        heights = np.array(self.heights_mm, float)
        corner = -(ROWS - 1) / 2 * ROW_MM * down - (COLUMNS - 1) / 2 * COLUMN_MM * along
        middle = (heights - (heights.min() + heights.max()) / 2)[:, None]
        origins = np.round(corner + middle * (np.cross(along, down) + np.array(self.shift, float)), 4)
        in_plane = np.arange(ROWS)[:, None, None] * ROW_MM * down + np.arange(COLUMNS)[:, None] * COLUMN_MM * along
        voxels = np.rint(hu(origins[:, None, None] + in_plane))
        ct(
            folder, [tuple(origin) for origin in origins], along=along, down=down, spacing=(ROW_MM, COLUMN_MM),
            voxels=voxels,
        )  # fmt: skip


def hu(points: np.ndarray) -> np.ndarray:
    """(..., 3) LPS mm -> HU of a brain with two lesions in air."""
    brain = ((points / np.array((40.0, 44.0, 60.0))) ** 2).sum(axis=-1) <= 1
    texture = 3 * np.sin(points[..., 0] / 7) * np.cos(points[..., 1] / 5)
    blood = [(((points - np.array(at)) / np.array(half)) ** 2).sum(axis=-1) <= 1 for at, half in LESIONS]
    return texture + np.where(np.any(blood, axis=0), 80, np.where(brain, 30, -1000))


SERIES: dict[str, tuple[Series, ...]] = {
    "axial": (Series(),),
    "uneven": (Series(heights_mm=UNEVEN),),
    "tilted": (Series(shift=(0, 0.3, 0)),),
    "tilted, uneven": (Series(heights_mm=UNEVEN, shift=(0, 0.3, 0)),),
    "2.5 mm below and 5 mm above": (Series(heights_mm=np.r_[np.arange(0, 25, 2.5), np.arange(25, 60, 5)]),),
    "slices missing": (Series(heights_mm=np.delete(THICK, [4, 5])),),
    "oblique": (Series(plane=((0.96, 0.28, 0), (-0.28, 0.96, 0))),),
    "sagittal": (Series(SAGITTAL, THIN),),
    "sagittal, tilted": (Series(SAGITTAL, THIN, (0, 0.2, 0.1)),),
    "coronal": (Series(CORONAL, THIN),),
    "coronal, tilted": (Series(CORONAL, THIN, (0.2, 0, 0.1)),),
    "one slice": (Series(heights_mm=[0.0]),),
    "two slices": (Series(heights_mm=[0.0, 5.0]),),
    "two series": (Series(), Series(heights_mm=THICK + 1, shift=(0, 0.1, 0))),
    "enhanced, tilted, uneven": (Series(heights_mm=UNEVEN, shift=(0, 0.3, 0)),),
    "enhanced, sagittal, tilted": (Series(SAGITTAL, THIN, (0, 0.2, 0.1)),),
}
NO_STEP = ("uneven", "tilted, uneven", "2.5 mm below and 5 mm above", "slices missing", "enhanced, tilted, uneven")
"""Of whose slices two DICOM masks alone do not tell how many lie in a gap."""


@pytest.fixture(scope="module", params=list(SERIES))
def segmented(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a geometry, and a folder with its scans `ct`, what `segment` wrote, and that by forms."""
    root = tmp_path_factory.mktemp("back")
    for number, series in enumerate(SERIES[request.param]):
        series.write(root / f"ct/{number}")
    if "enhanced" in request.param:
        whole = enhanced(root / "ct/0")
        shutil.rmtree(root / "ct/0")
        whole.save_as(root / "ct/a.dcm", enforce_file_format=True)
    settings = SegmentSettings(rtstruct=True, preview=False)
    rows = segment_cases(
        discover(root / "ct").cases, bright_models(96, 120.0), root / "out", settings, extractor=NonAirIsBrain()
    )
    assert [row.status for row in rows] == ["ok"] * len(SERIES[request.param])
    for form in FORMS:
        (root / form).mkdir()
    for row in rows:
        for name, form in ((".nii.gz", "nifti"), (".json", "nifti"), (".dcm", "seg"), ("_rtstruct.dcm", "rtstruct")):
            if (file := root / f"out/{row.case}{name}").is_file():
                shutil.copy(file, root / form)
    return request.param, root


def measured(root: Path, preds: Sequence[str], ref: str, *, on_scans: bool) -> list[Score]:
    """What `evaluate` measures of the masks of some forms, without its tables and pictures."""
    matching = match_cases([root / form for form in preds], root / ref)
    if on_scans:
        matching = with_scans(matching, Scans(matching, [root / "ct"]))
    return [score for job in matching.jobs for score in score_case(job, matching.models, EvaluationSettings())]


def assert_same(found: Sequence[Score], root: Path, models: int) -> None:
    """Every model has Dice 1 on every case, and the mL that `segment` states."""
    with (root / "out/volumes.csv").open(newline="") as file:
        stated = {row["case"]: float(row["ml"]) for row in csv.DictReader(file)}
    assert len(found) == models * len(stated)
    for score in found:
        assert not score.error
        assert score.metrics["dice"] == 1, score
        assert score.metrics["ref_ml"] == pytest.approx(stated[score.case], abs=1e-4), score
        assert score.metrics["pred_ml"] == pytest.approx(score.metrics["ref_ml"], rel=1e-6), score


def test_every_form_is_the_mask_that_was_written(segmented: tuple[str, Path]) -> None:
    """A SEG of a tilted sagittal or coronal stack had been refused, and of an enhanced object beside its NIfTI."""
    _, root = segmented
    for ref in FORMS:
        assert_same(measured(root, FORMS, ref, on_scans=True), root, 3)
    assert_same(measured(root, FORMS, "nifti", on_scans=False), root, 3)


def test_two_dicom_masks_are_one_where_slices_are_even(segmented: tuple[str, Path]) -> None:
    """Of tilted slices SEG did not say how far apart they are."""
    name, root = segmented
    found = measured(root, ("seg", "rtstruct"), "seg", on_scans=False)
    if name in NO_STEP:
        assert len(found) == 2
        assert all("give their scan with --images" in score.error for score in found)
    else:
        assert_same(found, root, 2)


def test_other_tools_copies_of_the_mask_are_it(segmented: tuple[str, Path]) -> None:
    """ITK holds no tilt and no uneven steps, so a copy of such a mask lies elsewhere and is refused."""
    sitk = pytest.importorskip("SimpleITK")
    name, root = segmented
    is_held = "tilted" not in name and name not in (*NO_STEP, "two series")
    for ending in ("nrrd", "mha"):
        for file in (root / "nifti").glob("*.nii.gz"):
            try:
                image = sitk.ReadImage(str(file))
            except RuntimeError:
                assert not is_held
                return
            (root / ending).mkdir(exist_ok=True)
            sitk.WriteImage(image, str(root / ending / f"{file.name.removesuffix('.nii.gz')}.{ending}"))
        found = measured(root, (ending,), "nifti", on_scans=False)
        if is_held:
            assert_same(found, root, 1)
        else:
            assert all("lie up to" in score.error or score.metrics["dice"] == 1 for score in found)


def test_sagittal_slices_with_a_gap_are_refused_as_a_scan(tmp_path: Path) -> None:
    Series(SAGITTAL, np.delete(THIN, [12, 13])).write(tmp_path / "ct")
    (row,) = segment_cases(
        discover(tmp_path / "ct").cases, bright_models(96, 120.0), tmp_path / "out", SegmentSettings(),
        extractor=NonAirIsBrain(),
    )  # fmt: skip
    assert row.status == "failed"
    assert "sagittal or coronal slices with uneven steps cannot be turned to axial" in row.error
