"""A scan in memory is checked as a file is, gives the file's numbers, and leaves the program's state alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toy_sets import head

import ctseg
from ctseg.errors import CaseError, CtsegError, InputError, SettingError
from ctseg.inference.given import checked_volume
from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return head(tmp_path_factory.mktemp("given"), "a")[0]


@pytest.fixture(scope="module")
def volume(scan: Path) -> Volume:
    return read_case(discover([scan], "ct").cases[0])


FORMS: dict[str, Any] = {
    "float64": lambda voxels: voxels.astype(np.float64),
    "int16": lambda voxels: voxels.astype(np.int16),
    "float16": lambda voxels: voxels.astype(np.float16),
    "other byte order": lambda voxels: voxels.astype(">f4"),
    "columns first": np.asfortranarray,
    "negative strides": lambda voxels: np.ascontiguousarray(voxels[::-1, ::-1])[::-1, ::-1],
    "a part of a larger array": lambda voxels: np.pad(voxels, 1)[1:-1, 1:-1, 1:-1],
    "read-only": lambda voxels: np.frombuffer(voxels.tobytes(), np.float32).reshape(voxels.shape),
    "tensor": torch.tensor,
    "list": lambda voxels: voxels.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_the_same_numbers_is_the_same_scan(form: str, volume: Volume) -> None:
    voxels = FORMS[form](volume.voxels)
    before = np.array(voxels)
    found = checked_volume(replace(volume, voxels=voxels))
    assert found.voxels.dtype == np.float32
    assert found.voxels.flags.c_contiguous
    assert np.array_equal(found.voxels, volume.voxels)
    assert np.array_equal(before, np.array(voxels))
    assert found.notes == volume.notes


def with_nan(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    changed = voxels.copy()
    changed[5, 20, 20] = np.nan
    return changed


WRONG: dict[str, tuple[Any, type[CtsegError], str]] = {
    "no HU": (lambda voxels: voxels / 1000, CaseError, "a: .*HU"),
    "grey values": (lambda voxels: np.clip(voxels, 0, 100) * 2.55, CaseError, "a: .*HU"),
    "not a number": (with_nan, CaseError, "a: some voxels are no numbers; set what was not measured to air, -1000 HU"),
    "infinite": (lambda voxels: np.where(voxels < 0, -np.inf, voxels), CaseError, "a: some voxels are no numbers"),
    "complex": (lambda voxels: voxels.astype(complex), InputError, "a: voxels are complex128 of shape"),
    "texts": (lambda voxels: voxels.astype(str), InputError, "a: voxels are <U32 of shape"),
    "one slice": (lambda voxels: voxels[0], InputError, r"a: voxels are float32 of shape \(40, 40\)"),
    "fewer slices": (lambda voxels: voxels[1:], InputError, "a: 11 slices of voxels, but 12 positions"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_a_file_would_be_refused_for_is_refused_in_memory(fault: str, volume: Volume) -> None:
    change, error, words = WRONG[fault]
    with pytest.raises(error, match=f"^{words}"):
        ctseg.segment(replace(volume, voxels=change(volume.voxels)))


def test_a_lost_intercept_is_corrected_and_noted_as_in_a_file(volume: Volume) -> None:
    found = checked_volume(replace(volume, voxels=volume.voxels + 1024))
    assert any("intercept" in note for note in found.notes)
    assert np.abs(found.voxels - volume.voxels).max() < 40


MISPLACED: dict[str, tuple[dict[str, Any], str]] = {
    "no steps": ({"row_step_mm": None}, r"a: row_step_mm: expected finite mm of shape \(3,\)"),
    "a step of two numbers": ({"col_step_mm": [1.0, 0.0]}, r"a: col_step_mm: expected finite mm of shape \(3,\)"),
    "spacing in place of a step": ({"row_step_mm": 0.5}, "a: row_step_mm: expected finite mm"),
    "no number": ({"row_step_mm": [0, np.nan, 0]}, "a: row_step_mm: expected finite mm"),
    "positions of two numbers": ({"origins_mm": np.zeros((12, 2))}, r"a: origins_mm: .* of shape \(slices, 3\)"),
    "positions that are texts": ({"origins_mm": ["x"] * 12}, "a: origins_mm: expected finite mm"),
    "no domain": ({"domain": None}, "a: domain is None; expected 'ct' or 'mr'"),
    "another word": ({"domain": "CT"}, "a: domain is 'CT'; expected 'ct' or 'mr'"),
}


@pytest.mark.parametrize("fault", MISPLACED)
def test_positions_of_another_shape_are_one_line(fault: str, volume: Volume) -> None:
    change, words = MISPLACED[fault]
    with pytest.raises(InputError, match=f"^{words}"):
        checked_volume(replace(volume, **change))


def test_axes_that_are_not_canonical_are_refused(volume: Volume) -> None:
    for change, words in (
        ({"origins_mm": volume.origins_mm[::-1]}, "slices do not run from feet to head"),
        ({"row_step_mm": -volume.row_step_mm}, "rows do not run from front to back"),
        ({"col_step_mm": -volume.col_step_mm}, "columns do not run from the patient's right to left"),
        ({"origins_mm": volume.origins_mm[[0, 2, 1, *range(3, 12)]]}, "slices are not in order by origins_mm"),
    ):
        with pytest.raises(InputError, match=f"^a: {words}"):
            checked_volume(replace(volume, **change))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("turned", [(), (0,), (1, 2), (0, 1, 2)])
def test_what_a_reader_makes_of_any_orientation_is_canonical(
    axes: tuple[int, ...], turned: tuple[int, ...], scan: Path, tmp_path: Path
) -> None:
    image = nib.load(scan)
    ornt = np.array([[axis, -1 if place in turned else 1] for place, axis in enumerate(axes)])
    nib.save(image.as_reoriented(ornt), tmp_path / "a.nii.gz")  # type: ignore[attr-defined]
    checked_volume(read_case(discover([tmp_path / "a.nii.gz"], "ct").cases[0]))


def test_lists_of_positions_are_positions(volume: Volume) -> None:
    lists = {name: getattr(volume, name).tolist() for name in ("origins_mm", "row_step_mm", "col_step_mm")}
    found = checked_volume(replace(volume, **lists))
    assert np.array_equal(found.origins_mm, volume.origins_mm)
    assert found.spacing_mm == volume.spacing_mm


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_not_the_working_folder(path: str) -> None:
    with pytest.raises(InputError, match="the path is empty"):
        ctseg.segment(path)


@pytest.mark.slow
def test_torch_s_defaults_of_a_program_change_no_number(volume: Volume) -> None:
    plain = ctseg.segment(volume, device="cpu", tta=False)
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        found = ctseg.segment(volume, device="cpu", tta=False)
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert np.array_equal(found.probability, plain.probability)


def test_a_voxel_size_that_no_head_has_is_refused(volume: Volume) -> None:
    with pytest.raises(CaseError, match="^a: voxels of"):
        ctseg.segment(replace(volume, row_step_mm=volume.row_step_mm / 1000))


@pytest.mark.parametrize("given", [None, 3, b"a.nii.gz", ["a.nii.gz"], np.zeros((3, 4, 5)), torch.zeros(3, 4, 5)])
def test_what_is_no_scan_is_one_line(given: Any) -> None:
    with pytest.raises(InputError, match=f"^segment: takes a path or .* not a {type(given).__name__}; "):
        ctseg.segment(given)


def test_an_image_of_nibabel_is_pointed_to_its_file(scan: Path) -> None:
    with pytest.raises(InputError, match="not a Nifti1Image; give the scan's file"):
        ctseg.segment(nib.load(scan))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [3, b"default", {"default"}, [None], [3]])
def test_what_is_no_model_is_one_line(model: Any, volume: Volume) -> None:
    with pytest.raises(InputError, match="^model: takes names, paths and items of list_models, not a "):
        ctseg.segment(volume, model)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "cpu:7"])
def test_a_device_that_is_not_there_is_one_line(device: str, volume: Volume) -> None:
    with pytest.raises(SettingError, match="--device"):
        ctseg.segment(volume, device=device)


def state() -> list[Any]:
    return [
        torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), torch.get_num_threads(),  # type: ignore[index]  # noqa: NPY002
        torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr(), np.get_printoptions(), Path.cwd(),
    ]  # fmt: skip


@pytest.mark.slow
def test_file_memory_and_an_item_of_the_list_give_the_same_and_leave_the_program_alone(
    scan: Path, volume: Volume
) -> None:
    before = state()
    item = next(model for model in ctseg.list_models() if model.source.name == "default")
    given = [(scan, None), (volume, "default"), (replace(volume, voxels=volume.voxels.astype(float)), item)]
    found = [ctseg.segment(what, model, device="cpu", tta=False) for what, model in given]
    assert state() == before
    for other in found[1:]:
        assert np.array_equal(found[0].probability, other.probability)
        assert found[0].measures == other.measures
    assert found[0].measures.ml > 1


def test_a_folder_that_is_gone_is_said_where_torch_would_end_the_program(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match=r"^the folder that this was called in is gone \(replaced or removed\)"):
        ctseg.segment(volume)


def test_a_notebook_completes_the_names() -> None:
    code = "import ctseg, sys; print({*ctseg.__all__} <= {*dir(ctseg)}, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
