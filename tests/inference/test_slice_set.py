import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from segment_helpers import bright_models

from ctseg.errors import InputError
from ctseg.inference.settings import SegmentSettings
from ctseg.inference.slice_set import segment_slices, slice_volume, slices_by_case
from ctseg.io.nifti.volumes import load_mask
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import open_slices


@pytest.fixture
def slices(tmp_path, rng):
    """Two cases whose rows are mixed and out of order; what is above 140 is lesion (55 HU)."""
    images = rng.integers(20, 110, (7, 16, 16), dtype=np.uint8)
    images[:, :3] = 0
    images[[0, 4], 5:9, 6:10] = 220
    order = [("one", 2), ("two", 0), ("one", 0), ("one", 1), ("two", 2), ("two", 1), ("one", 3)]
    z_mm = {0: 0.0, 1: 4.0, 2: 9.0, 3: 15.0}
    table = pd.DataFrame(
        {
            "slice_id": [f"{case}_{index}" for case, index in order],
            "patient_id": [case for case, _ in order],
            "series_id": [f"1.2.{case}" for case, _ in order],
            "case_id": [case for case, _ in order],
            "index": [index for _, index in order],
            "z_mm": [z_mm[index] for _, index in order],
            "spacing_row_mm": 2.0,
            "spacing_col_mm": 3.0,
            "brain_px": 200,
            "lesion_px": "",
            "split": ["train" if case == "one" else "test" for case, _ in order],
        }
    )
    (tmp_path / "set").mkdir()
    write_slices(
        tmp_path / "set", domain="ct", images=images, masks=None, table=table,
        intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings={},
    )  # fmt: skip
    return open_slices(tmp_path / "set")


def test_rows_are_sorted_from_feet_to_head_within_each_case(slices):
    rows = slices_by_case(slices)
    assert {case: list(found) for case, found in rows.items()} == {"one": [2, 3, 0, 6], "two": [1, 5, 4]}
    assert list(slices_by_case(slices, "test")) == ["two"]


def test_masks_are_on_the_model_grid_with_the_sets_positions(slices, tmp_path):
    one, two = segment_slices(slices, bright_models(16, 16.0), tmp_path / "out", SegmentSettings())
    assert (one.status, two.status) == ("ok", "ok")
    mask, volume = load_mask(tmp_path / "out" / "one.nii.gz")
    truth = np.stack([slices.images[row] == 220 for row in (2, 3, 0, 6)])
    np.testing.assert_array_equal(mask > 0, truth)
    np.testing.assert_allclose(volume.z_mm, [0, 4, 9, 15])
    assert volume.spacing_mm == (2.0, 3.0)
    assert one.ml == pytest.approx(16 * 6.0 * 5.5 / 1000)  # third of four slices: half of 5 and half of 6 mm
    assert nib.load(tmp_path / "out" / "one.nii.gz").shape == (16, 16, 4)
    assert (tmp_path / "out" / "one.png").exists()
    assert json.loads((tmp_path / "out" / "volumes.json").read_text())["cases"][0]["case"] == "one"


def test_another_size_is_refused(slices, tmp_path):
    with pytest.raises(InputError, match="16 x 16, the model wants 64 x 64"):
        segment_slices(slices, bright_models(), tmp_path / "out", SegmentSettings())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "value"), [("window", [0.0, 80.0]), ("brain_hu", 31.0)])
def test_greys_that_mean_other_hu_are_refused(slices, tmp_path, name, value):
    slices.info["settings"] = {"window": [0.0, 100.0], "brain_hu": None, name: value}
    with pytest.raises(InputError, match=f"made with {name}=.*preprocess with the same"):
        segment_slices(slices, bright_models(16, 16.0), tmp_path / "out", SegmentSettings())
    assert not (tmp_path / "out").exists()


def test_a_volumes_hu_are_the_scans_own(slices):
    table = slices.table.assign(intensity_a=2.55, intensity_b=-25.5)
    shifted = replace(slices, table=table)
    rows = slices_by_case(shifted)["one"]
    expected = (np.asarray(slices.images[rows], np.float32) + 25.5) / 2.55
    np.testing.assert_allclose(slice_volume(shifted, "one", rows).voxels, expected, rtol=1e-5)


@pytest.mark.parametrize(("rows", "word"), [([2, 3, 0, 6], ""), ([2, 0, 6], "1 slices betw"), ([0], "a single slice")])
def test_slices_that_are_not_in_the_set_are_said(slices, rows, word):
    notes = slice_volume(slices, "one", np.array(rows)).notes
    assert len(notes) == 1 + bool(word)
    assert word in notes[-1]
