"""Slice sets: round trip and everything that can be wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctseg.errors import InputError
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import (
    SliceSet,
    assign_splits,
    check_domain,
    check_same_size,
    check_target,
    open_slices,
)


def make(
    folder: Path, *, size: int = 8, domain: str = "mr", patients: tuple[str, ...] = ("p1", "p1", "p2")
) -> SliceSet:
    count = len(patients)
    folder.mkdir(parents=True)
    table = pd.DataFrame({
        "slice_id": [f"{name}_{row}" for row, name in enumerate(patients)], "patient_id": patients, "series_id": "s",
        "index": range(count), "z_mm": 1.5, "spacing_row_mm": 1.0, "spacing_col_mm": 1.0, "brain_px": 5, "lesion_px": 1,
        "split": ["train" if name == "p1" else "val" for name in patients],
    })  # fmt: skip
    images = np.arange(count * size * size, dtype=np.uint32).reshape(count, size, size).astype(np.uint8)
    write_slices(
        folder, domain=domain, images=images, masks=images % 2 if domain == "mr" else None, table=table,
        intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings={"size": size},
    )  # fmt: skip
    return open_slices(folder)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    slices = make(tmp_path / "set")
    assert slices.images.shape == (3, 8, 8)
    assert isinstance(slices.images, np.memmap)
    np.testing.assert_array_equal(slices.images[1].ravel(), np.arange(64, 128))
    np.testing.assert_array_equal(slices.require_masks("x")[0].ravel(), np.arange(64) % 2)
    assert slices.info["counts"] == {
        "slices": 3, "patients": 2, "series": 1, "slices_with_lesion": 3, "splits": {"train": 2, "val": 1},
    }  # fmt: skip
    assert list(slices.rows("val")) == [2]
    assert list(slices.ids_to_rows(["p2_2", "p1_0"])) == [2, 0]
    assert sorted(path.name for path in slices.folder.iterdir()) == [
        "dataset.json", "images.npy", "masks.npy", "slices.csv",
    ]  # fmt: skip


def edit_info(folder: Path, **changes: object) -> None:
    info = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**info, **changes}))


def edit_table(folder: Path, column: str, values: list[str]) -> None:
    table = pd.read_csv(folder / "slices.csv")
    table[column] = values
    table.to_csv(folder / "slices.csv", index=False)


def test_every_broken_set_gives_one_line_that_names_it(tmp_path: Path) -> None:
    faults = {
        "no such folder": lambda folder: folder.rename(folder.with_name("gone")),
        "no dataset.json": lambda folder: (folder / "dataset.json").unlink(),
        "not a JSON file": lambda folder: (folder / "dataset.json").write_text("{"),
        "schema 'ctseg-slices/9'": lambda folder: edit_info(folder, schema="ctseg-slices/9"),
        "domain must be": lambda folder: edit_info(folder, domain="pet"),
        "images.npy: not a readable array": lambda folder: (folder / "images.npy").write_bytes(b"\x93NUMPY"),
        "uint8, found": lambda folder: np.save(folder / "images.npy", np.zeros((3, 8, 8), np.float32)),
        "do not agree": lambda folder: np.save(folder / "masks.npy", np.zeros((2, 8, 8), np.uint8)),
        "no column": lambda folder: (folder / "slices.csv").write_text("slice_id\na\nb\nc\n"),
        "appears more than once": lambda folder: edit_table(folder, "slice_id", ["a", "b", "a"]),
        "patient p1 is in two splits": lambda folder: edit_table(folder, "split", ["train", "val", "val"]),
    }
    for row, (words, spoil) in enumerate(faults.items()):
        folder = make(tmp_path / str(row)).folder
        spoil(folder)
        with pytest.raises(InputError) as caught:
            open_slices(folder)
        assert words in str(caught.value)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    folder = make(tmp_path / "set").folder
    np.save(folder / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a readable array"):
        open_slices(folder)


def test_unknown_slices_splits_sizes_and_domains_are_named(tmp_path: Path) -> None:
    mr, ct = make(tmp_path / "mr"), make(tmp_path / "ct", size=10, domain="ct")
    with pytest.raises(InputError, match=r"pairs\.csv: 1 of 2 slices are not in .*first: nobody"):
        mr.ids_to_rows(["p1_0", "nobody"], "pairs.csv")
    with pytest.raises(InputError, match=r"no slice in split 'test'; this set has train, val"):
        mr.rows("test")
    with pytest.raises(InputError, match="mr is 8 x 8 but .*ct is 10 x 10; preprocess both with the same --size"):
        check_same_size(mr, ct)
    for other, way_out in ((None, "give a slice set of CT"), (mr, "give a slice set of CT"), (ct, "swap --src")):
        with pytest.raises(InputError, match=f"--tgt .*is a slice set of MR, where CT is expected; {way_out}"):
            check_domain(mr, "ct", "--tgt", other)
    with pytest.raises(InputError, match="has no masks.npy, but training needs them"):
        ct.require_masks("training needs them")


def test_a_target_is_real_ct(tmp_path: Path) -> None:
    mr, ct, made = make(tmp_path / "mr"), make(tmp_path / "ct", domain="ct"), make(tmp_path / "made", domain="ct")
    made.info["pseudo"] = {"from": "mr"}
    for source in (mr, made):
        check_target(ct, source)
    for source, way_out in ((ct, "swap --src and --tgt"), (mr, "give a slice set of CT")):
        with pytest.raises(InputError, match=f"--tgt .*made: is pseudo-CT made of MR, where CT is expected; {way_out}"):
            check_target(made, source)
    with pytest.raises(InputError, match=r"^\S*made: is a slice set of pseudo-CT, where MR is expected"):
        check_domain(made, "mr", "")


def test_splits_are_by_patient_whatever_the_order() -> None:
    patients = [f"p{row}" for row in range(50)]
    fractions = {"train": 0.8, "val": 0.2}
    once = assign_splits(patients, fractions, seed=3)
    assert once == assign_splits(patients[::-1] * 2, fractions, seed=3)
    assert sum(split == "val" for split in once.values()) == 10
    assert once != assign_splits(patients, fractions, seed=4)


CELLS = {
    "z_mm": ["", "nan", "inf", "1e9", "x", "0.0"],
    "index": ["", "-1", "1.5", "0", "x"],
    "spacing_row_mm": ["", "0", "-1", "51", "inf", "a"],
    "spacing_col_mm": ["0"],
    "brain_px": ["", "-3", "x"],
    "lesion_px": ["", "many"],
    "patient_id": [" "],
    "series_id": [""],
    "split": [""],
    "slice_id": [""],
}


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, values in CELLS.items() for value in values])
def test_a_spoilt_cell_is_named_with_its_line(tmp_path: Path, column: str, value: str) -> None:
    folder = make(tmp_path / "set", patients=("p1",) * 6).folder
    table = pd.read_csv(folder / "slices.csv", dtype=str)
    table["z_mm"] = [str(5.0 * row) for row in range(6)]
    table.to_csv(folder / "slices.csv", index=False)
    open_slices(folder)
    table.loc[3, column] = value
    table.to_csv(folder / "slices.csv", index=False)
    with pytest.raises(InputError, match=rf"slices\.csv: line 5: .*{column}.*; (correct the line or )?.*") as caught:
        open_slices(folder)
    assert "\n" not in str(caught.value)


def test_a_jump_in_positions_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", patients=("p1",) * 8).folder
    edit_table(folder, "z_mm", ["0", "5", "10", "15", "2000", "2005", "2010", "2015"])
    with pytest.raises(InputError, match="line 6: z_mm is more than 20 usual steps"):
        open_slices(folder)
    edit_table(folder, "z_mm", ["0", "-5", "-10", "-25", "-30", "-60", "-62", "-64"])  # gaps and another direction
    open_slices(folder)


@pytest.mark.parametrize("value", [2, 255])
def test_masks_hold_0_and_1_alone(tmp_path: Path, value: int) -> None:
    folder = make(tmp_path / "set").folder
    masks = np.load(folder / "masks.npy")
    masks[2, 3, 4] = value
    np.save(folder / "masks.npy", masks)
    with pytest.raises(InputError, match=rf"masks\.npy: slice 2 \(line 4 of slices\.csv\) holds the value {value}"):
        open_slices(folder)


def test_longer_and_shorter_arrays_are_refused(tmp_path: Path) -> None:
    for name, change in {"long": lambda data: data + b"x", "short": lambda data: data[:-1]}.items():
        path = make(tmp_path / name).folder / "images.npy"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(InputError, match=r"images\.npy: "):
            open_slices(path.parent)


@pytest.mark.parametrize("intensity", [{"a": 0, "b": 0}, {"a": "x", "b": 0}, {"a": 2.5}, {"a": None, "b": 1}, []])
def test_an_intensity_map_needs_two_numbers(tmp_path: Path, intensity: object) -> None:
    folder = make(tmp_path / "set").folder
    edit_info(folder, intensity=intensity)
    with pytest.raises(InputError, match=r"dataset\.json: intensity"):
        open_slices(folder)


def test_follow_ups_in_two_splits_are_a_leak(tmp_path: Path) -> None:
    folder = make(tmp_path / "set").folder
    edit_table(folder, "patient_id", ["BraTS-GLI-00004-100", "BraTS-GLI-00007-100", "brats-gli-00004-101"])
    with pytest.raises(InputError, match="patient BraTS-GLI-00004 is in two splits"):
        open_slices(folder)


def test_a_scan_without_positions_is_said(tmp_path: Path) -> None:
    slices = make(tmp_path / "set")
    (note,) = slices.notes()
    assert note.startswith(f"{slices.folder}/slices.csv: 1 scans have one z_mm in all their slices (first: p1_s)")
    edit_table(slices.folder, "z_mm", ["0", "5", "0"])
    assert open_slices(slices.folder).notes() == []


@pytest.mark.parametrize("step", [0.005, 0.04, 25, 5000])
def test_positions_in_other_units_are_refused(tmp_path: Path, step: float) -> None:
    folder = make(tmp_path / "set", patients=("p1",) * 6).folder
    edit_table(folder, "z_mm", [str(step * row) for row in range(6)])
    with pytest.raises(
        InputError, match=r"z_mm (steps of .* mm, where scans have 0\.05 to 20 mm|.* expected a number)"
    ):
        open_slices(folder)


@pytest.mark.parametrize("value", ["0.0005", "0.04"])
def test_pixels_in_other_units_are_refused(tmp_path: Path, value: str) -> None:
    folder = make(tmp_path / "set").folder
    edit_table(folder, "spacing_row_mm", [value] * 3)
    with pytest.raises(InputError, match=r"spacing_row_mm is .*, expected a number from 0\.05 to 50"):
        open_slices(folder)
