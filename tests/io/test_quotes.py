"""What a library quotes of a file is in no message: it may be a patient's name, with quotes of its own or cut off."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ctseg.cli.main import main
from ctseg.errors import without_quotes

NAME = "Quixotic"
TEXTS = (
    f'could not parse space "{NAME}"', f"couldn't parse '{NAME}'", f"bad magic '{NAME}' of this",
    f"File name in directory 'x' and header b'{NAME}' differ", f'field "John "{NAME}" Doe" is odd',
    f"member 'O'{NAME}' is odd", f'cut off within "a {NAME}', f"cut off in 'a {NAME}", f"key b'{NAME}",
    f"could not convert string to float: '{NAME}'",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_quoted_is_left(text: str) -> None:
    left = without_quotes(text)
    assert NAME not in left
    assert "..." in left
    assert len(left) > 6


@pytest.mark.parametrize("text", ["it isn't a scan", "File is not a zip file"])
def test_an_apostrophe_is_no_quotation_mark(text: str) -> None:
    assert without_quotes(text) == text


def nrrd(folder: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(4 * 30 * 30, dtype=np.int16).reshape(4, 30, 30))
    sitk.WriteImage(image, str(folder / "a.nrrd"))
    data = (folder / "a.nrrd").read_bytes()
    (folder / "a.nrrd").write_bytes(data.replace(b"space:", b"space: " + NAME.encode() + b"\n#", 1))


def mha(folder: Path) -> None:
    (folder / "a.mha").write_bytes(
        f"NDims = 3\nDimSize = 4 4 {NAME}\nElementType = {NAME}\nElementDataFile = LOCAL\n".encode()
    )


def nifti(folder: Path) -> None:
    image = nib.Nifti1Image(np.zeros((30, 30, 4), np.int16), np.eye(4) * 4)
    nib.save(image, folder / "a.nii")
    data = bytearray((folder / "a.nii").read_bytes())
    data[344:348] = b"n+9\0"
    data[148:156] = NAME.encode()
    (folder / "a.nii").write_bytes(data)


def archive(folder: Path) -> None:
    """The table of contents has another name than the member itself."""
    long = f"{NAME}/" * 20
    with zipfile.ZipFile(folder / "a.zip", "w") as packed:
        packed.writestr(f"{long}a.dcm", b"x" * 200)
    data = (folder / "a.zip").read_bytes()
    (folder / "a.zip").write_bytes(data.replace(NAME.encode(), NAME.lower().encode(), 1))


READ = [(write, flag) for write in (nrrd, mha, nifti) for flag in ("--no-tta", "--deidentify")]


@pytest.mark.parametrize(("write", "flag"), [*READ, (archive, "--deidentify")])
def test_no_text_of_a_file_is_said(
    write: Callable[[Path], None], flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an archive, where no scan is found at all, nor the path of the first file that was left out."""
    folder = tmp_path / "scans"
    folder.mkdir()
    write(folder)
    assert main(["segment", str(folder), "-o", str(tmp_path / "out"), "--workers", "0", flag]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert len(said) > 40
    assert NAME.lower() not in said.lower()
    for file in (tmp_path / "out").rglob("*.csv"):
        assert NAME not in file.read_text()
