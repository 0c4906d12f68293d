"""Series that are not plain slices say so; sizes that no head has are refused or noted."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ctseg.errors import CaseError, InputError
from ctseg.io.discover import discover, read_case
from ctseg.io.slices import open_slices

Write = Callable[..., list[Path]]
Positions = list[tuple[float, float, float]]
PROJECTION, REFORMATTED, CONTRAST = "a projection", "reformatted", "taken with a contrast agent"


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ({}, []),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]}, [PROJECTION]),
        ({"ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE"]}, [PROJECTION]),
        ({"ImageType": ["DERIVED", "PRIMARY", "MIN_IP"]}, [PROJECTION]),
        ({"SeriesDescription": "Head 10/5 MIP ax"}, [PROJECTION]),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, [REFORMATTED]),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, [REFORMATTED]),
        ({"SeriesDescription": "MPR cor 3.0"}, [REFORMATTED]),
        ({"ContrastBolusAgent": "Ultravist 300"}, [CONTRAST]),
        ({"ContrastBolusAgent": "NONE"}, []),
        ({"SeriesDescription": "CTA Carotids 0.6 B20f"}, [CONTRAST]),
        ({"SeriesDescription": "HEAD +C"}, [CONTRAST]),
        ({"SeriesDescription": "Head C+ venous"}, [CONTRAST]),
        ({"SeriesDescription": "Schädel mit KM"}, [CONTRAST]),
        ({"SeriesDescription": "Schädel ohne KM", "ContrastBolusAgent": "APPLIED"}, []),
        ({"SeriesDescription": "HEAD W/O CONTRAST"}, []),
        ({"SeriesDescription": "Head without IV contrast 5mm"}, []),
        ({"SeriesDescription": "NON-CONTRAST HEAD"}, []),
        ({"SeriesDescription": "noncontrast"}, []),
        ({"SeriesDescription": "Unenhanced brain"}, []),
        ({"SeriesDescription": "CTA MIP ax", "ImageType": ["DERIVED", "SECONDARY", "MPR"]},
         [PROJECTION, REFORMATTED, CONTRAST]),
        ({"SeriesDescription": "Compromised, C-spine, mprage"}, []),
    ],
)  # fmt: skip
def test_traits_of_a_series_are_noted(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tags: dict[str, Any], wanted: list[str]
) -> None:
    folder = write_series(head_ct, straight, **{key: [v] * 6 if isinstance(v, tuple) else v for key, v in tags.items()})
    notes = read_case(discover(folder[0].parent).cases[0]).notes
    assert len(notes) == len(wanted)
    assert all(note.startswith(word) for note, word in zip(notes, wanted, strict=True))
    assert not any(tags.get("SeriesDescription", "?") in note for note in notes)


def nifti(path: Path, spacing: tuple[float, float, float], shape: tuple[int, int, int] = (8, 8, 6)) -> Path:
    voxels = np.random.default_rng(0).normal(30, 8, shape).astype(np.int16)
    voxels[:2] = -1000
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
    return path


@pytest.mark.parametrize("spacing", [(0.0005, 0.0005, 0.005), (0.5, 0.5, 0.01), (500, 500, 5000), (0.5, 0.5, 25)])
def test_voxels_that_no_scanner_has_are_refused(tmp_path: Path, spacing: tuple[float, float, float]) -> None:
    (case,) = discover(nifti(tmp_path / "a.nii", spacing), "ct").cases
    with pytest.raises(CaseError, match=r"a: voxels of .* mm .*, where heads have 0\.05 to 20 mm"):
        read_case(case)


def test_dicom_in_other_units_is_refused(write_series: Write, head_ct: np.ndarray) -> None:
    places = [(0, 0, 0.02 * k) for k in range(6)]
    files = write_series(head_ct, places, PixelSpacing=[0.0005, 0.0005], SliceThickness=0.02)
    with pytest.raises(CaseError, match="where heads have"):
        read_case(discover(files[0].parent).cases[0])


def test_more_than_a_head_is_noted(tmp_path: Path) -> None:
    (case,) = discover(nifti(tmp_path / "a.nii", (19, 19, 5), (40, 40, 20)), "ct").cases
    assert any(note.startswith("covers 100 x 760 x 760 mm") for note in read_case(case).notes)
    (case,) = discover(nifti(tmp_path / "b.nii", (5, 5, 5), (50, 50, 30)), "ct").cases
    assert read_case(case).notes == ()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(1200, 1200, 4800), (30000, 30000, 30000), (32767, 32767, 1)])
def test_a_nifti_that_claims_more_than_it_holds_is_refused_unread(
    tmp_path: Path, shape: tuple[int, int, int], packed: bool
) -> None:
    path = nifti(tmp_path / "a.nii", (0.5, 0.5, 5))
    data = bytearray(path.read_bytes() + np.random.default_rng(0).bytes(350_000))
    struct.pack_into("<3h", data, 42, *shape)
    if packed:
        path.unlink()
        path = tmp_path / "a.nii.gz"
        data = bytearray(gzip.compress(bytes(data)))
    path.write_bytes(data)
    (case,) = discover(path, "ct").cases
    with pytest.raises(
        CaseError, match=r"broken or cut short \(its header claims .* GB of voxels, a.nii.* has 35\d+ b"
    ):
        read_case(case)
    with pytest.raises(InputError, match="its header claims"):
        discover(path)


def test_a_nifti_too_large_for_a_head_is_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", (0.5, 0.5, 5))
    with path.open("r+b") as file:
        file.seek(42)
        file.write(struct.pack("<3h", 2000, 2000, 400))
        file.truncate(352 + 2 * 2000 * 2000 * 400)  # a hole: no bytes on the disk
    with pytest.raises(CaseError, match="2000 x 2000 x 400 voxels, too many for a head"):
        read_case(discover(path, "ct").cases[0])


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(
        '{"schema": "ctseg-slices/1", "domain": "ct", "intensity": {}, "settings": {}, "counts": {}}'
    )
    np.save(tmp_path / "images.npy", np.zeros((1, 4, 4), np.uint8))
    data = (tmp_path / "images.npy").read_bytes()
    (tmp_path / "images.npy").write_bytes(data.replace(b"(1, 4, 4)", b"(9999999, 4000, 4000)", 1))
    with pytest.raises(InputError, match=r"images\.npy: not a readable array"):
        open_slices(tmp_path)


@pytest.mark.parametrize(
    "text",
    ['{"modality": {"0": "CT"}, "training": 5}', '{"modality": 5, "training": [{"image": ["a"]}]}', "[" * 100_000,
     '{"modality": {"0": "CT"}, "training": [{"image": "a\\u0000b"}]}', '{"channel_names": {"x": null}}', "\xff", "5"],
    ids=range(7),
)  # fmt: skip
def test_a_dataset_json_of_any_form_ends_nothing(tmp_path: Path, text: str) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    nifti(tmp_path / "a/scan.nii", (1, 1, 1))
    (tmp_path / "b/dataset.json").write_text(text, encoding="latin-1")
    assert [case.case_id for case in discover(tmp_path, "ct").cases] == ["scan"]
