"""Which slices of a set are one scan: phases share a series, patients share its name, and names come from a file."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from torch import Tensor, nn

from ctseg.errors import InputError
from ctseg.inference.slice_set import slices_by_case
from ctseg.inspection.artefacts import draw_slice_set
from ctseg.io.slice_table import scan_files, scan_names, scan_numbers, scans_without_positions
from ctseg.io.slices import SliceSet
from ctseg.runs import ModelHeader
from ctseg.segmentation.folds import dice_scores
from ctseg.synthesis.volumes import translate_nifti
from ctseg.training.device import make_fabric

SCANS = {
    "phases": (["p", "p"], ["1.2", "1.2"], ["a", "b"]),
    "patients": (["p", "q"], ["s1", "s1"], None),
    "series": (["p", "p"], ["s1", "s2"], None),
    "one case": (["p", "p"], ["s1", "s2"], ["a", "a"]),
}
"""Patient, series and case of two scans."""


def table_of(what: str) -> pd.DataFrame:
    """Two scans of three slices each, one between the other's slices."""
    patients, series, cases = SCANS[what]
    table = pd.DataFrame({
        "slice_id": [f"x_{row}" for row in range(6)], "patient_id": np.repeat(patients, 3),
        "series_id": np.repeat(series, 3), "index": [0, 1, 2] * 2, "z_mm": [0.0, 5.0, 10.0, 2.5, 7.5, 12.5],
        "brain_px": 64, "lesion_px": 1,
    })  # fmt: skip
    return table if cases is None else table.assign(case_id=np.repeat(cases, 3))


def set_of(table: pd.DataFrame, tmp_path) -> SliceSet:
    images = np.repeat(np.array([50, 100], np.uint8), 3)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    info = {"domain": "mr", "settings": {"fov_mm": 16.0}}
    return SliceSet(tmp_path / "set", images, np.ones_like(images), table, info)


@pytest.mark.parametrize("what", SCANS)
def test_two_scans_are_two_with_names_of_their_own(what: str, tmp_path) -> None:
    table = table_of(what)
    assert scan_numbers(table).tolist() == [0, 0, 0, 1, 1, 1]
    assert scan_names(table).nunique() == scan_files(table).nunique() == 2
    rows = slices_by_case(SliceSet(tmp_path, np.zeros((6, 8, 8), np.uint8), None, table, {}))
    assert sorted(found.tolist() for found in rows.values()) == [[0, 1, 2], [3, 4, 5]]


def test_the_name_is_the_case_or_the_series_where_that_is_enough() -> None:
    assert scan_names(table_of("phases")).tolist() == [*"aaabbb"]
    assert scan_names(table_of("series")).unique().tolist() == ["s1", "s2"]
    assert scan_names(table_of("patients")).unique().tolist() == ["p_s1", "q_s1"]


class Same(nn.Module):
    def to_target(self, images: Tensor) -> Tensor:
        return images


def write(slices: SliceSet, folder) -> list[str]:
    header = ModelHeader("generator", "same", {}, "tests", "0", input={"intensity": {"a": 1.0, "b": 0.0, "unit": "HU"}})
    folder.mkdir()
    return translate_nifti(Same(), slices, folder, header=header, fabric=make_fabric("cpu", "32"))


@pytest.mark.parametrize("what", SCANS)
def test_each_scan_is_a_volume_of_its_own(what: str, tmp_path) -> None:
    write(set_of(table_of(what), tmp_path), tmp_path / "out")
    volumes = [nib.load(file) for file in sorted((tmp_path / "out").glob("*.nii.gz")) if "_mask" not in file.name]
    assert [int(volume.dataobj[0, 0, 0]) for volume in volumes] == [50, 100]
    assert [volume.affine[2].tolist() for volume in volumes] == [[0, 0, 5, 0], [0, 0, 5, 2.5]]
    assert all(len(np.unique(volume.dataobj)) == 1 for volume in volumes)


def test_a_name_from_the_table_leads_to_no_other_folder(tmp_path) -> None:
    names = np.repeat(["../../evil", "/root/x"], 3)
    table = table_of("phases").assign(slice_id=[f"{name}_{row}" for row, name in enumerate(names)], case_id=names)
    for number, given in enumerate((table, table.drop(columns="case_id").assign(series_id=table["case_id"]))):
        write(set_of(given, tmp_path), tmp_path / f"deep{number}")
        made = {path.name for path in tmp_path.rglob("*.nii.gz")}
        assert made == {"evil.nii.gz", "evil_mask.nii.gz", "root_x.nii.gz", "root_x_mask.nii.gz"}
        assert len(list((tmp_path / f"deep{number}").iterdir())) == 4


def test_names_that_a_file_cannot_tell_apart_are_refused(tmp_path) -> None:
    table = table_of("phases").assign(case_id=np.repeat(["a b", "a/b"], 3))
    with pytest.raises(InputError, match=r"scans 'a b' and 'a/b' would share a file; rename one"):
        write(set_of(table, tmp_path), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("names", "file"), [(["A", "A_mask"], "A_mask.nii.gz"), (["Case", "case"], "case.nii.gz")])
def test_a_volume_that_would_be_anothers_mask_or_the_same_on_some_disks_is_refused(names, file, tmp_path) -> None:
    table = table_of("phases").assign(case_id=np.repeat(names, 3))
    said = rf"set: scans '{names[0]}' and '{names[1]}' would share the file {file}; rename one"
    with pytest.raises(InputError, match=said):
        write(set_of(table, tmp_path), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_scans_without_positions_are_no_volumes_and_are_named_apart(tmp_path) -> None:
    table = table_of("patients").assign(z_mm=[0.0, 0.0, 0.0, 0.0, 5.0, 10.0])
    assert scans_without_positions(table) == ["p_s1"]
    with pytest.raises(InputError, match=r"scan p_s1: its slices have no positions, so they are no volume; use --for"):
        write(set_of(table, tmp_path), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_scans_of_one_slice_are_said(tmp_path) -> None:
    table = table_of("phases").assign(case_id=[*"aabbbb"], z_mm=[1.0, 3.0, 0.0, 2.0, 4.0, 6.0])
    assert write(set_of(table, tmp_path), tmp_path / "two") == []
    alone = table.assign(case_id=[*"abbbbb"], z_mm=[9.0, 0.0, 2.0, 4.0, 6.0, 8.0])
    assert write(set_of(alone, tmp_path), tmp_path / "one") == ["a"]
    assert nib.load(tmp_path / "one/a.nii.gz").header.get_zooms()[2] == 1.0


def test_a_picture_and_a_dice_count_phases_apart(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctseg.render import sheet

    drawn: list[object] = []

    def draw(rows: list[list[object]], layout: object) -> np.ndarray:
        drawn.extend(tile for row in rows for tile in row)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(sheet, "draw_sheet", draw)
    slices = set_of(table_of("phases"), tmp_path)
    draw_slice_set(slices, tmp_path / "a.png")
    assert len(drawn) == 2
    masks = np.ones((6, 2, 2), np.uint8)
    found = masks * np.repeat([1, 0], 3)[:, None, None].astype(np.uint8)
    scores = dice_scores(found, masks, scan_numbers(slices.table).to_numpy())
    assert (scores["volumes"], scores["per_volume"]) == (2, 0.5)
