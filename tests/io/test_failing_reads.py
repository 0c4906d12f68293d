"""A file that the system does not give is one failed case or one line, whatever the error and wherever it strikes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ctseg.errors import CaseError
from ctseg.io.digest import input_digest
from ctseg.io.discover import discover, read_case

Write = Callable[..., list[Path]]
Positions = list[tuple[float, float, float]]
ERRORS = [
    errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ELOOP, errno.ETIMEDOUT, errno.EBUSY, errno.ENOMEM,
    errno.EACCES, errno.EPERM, errno.ENOTCONN, errno.EREMOTEIO, errno.ENOENT,
]  # fmt: skip


@pytest.fixture
def cohort(tmp_path: Path, write_series: Write, head_ct: np.ndarray, straight: Positions) -> Path:
    """Two NIfTI heads, a series and a suffixless series; the bad ones have `bad` in their paths."""
    voxels = np.full((8, 8, 6), -1000, np.int16)
    voxels[2:] = np.random.default_rng(0).normal(30, 8, (6, 8, 6))
    for name in ("good", "bad"):
        nib.save(nib.Nifti1Image(voxels, np.eye(4) * 2), tmp_path / f"{name}.nii.gz")
        for file in write_series(head_ct, straight, name, SeriesInstanceUID=f"1.2.{len(name)}"):
            file.rename(file.with_suffix(""))
    return tmp_path


def fail(monkeypatch: pytest.MonkeyPatch, error: Exception, after: int) -> None:
    """`open` of a bad file raises (`after` 0), or its `after`-th read does."""
    whole = Path.open

    class Failing:
        def __init__(self, file: Any) -> None:
            self.file, self.left = file, after

        def read(self, *count: int) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise error
            return self.file.read(*count)

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    def opened(self: Path, *args: Any, **kwargs: Any) -> Any:
        if "bad" not in str(self.relative_to(self.parents[1])):
            return whole(self, *args, **kwargs)
        if not after:
            raise error
        return Failing(whole(self, *args, **kwargs))

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("code", ERRORS)
def test_while_looking_it_is_a_line_and_while_reading_a_failed_case(
    cohort: Path, code: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = discover(cohort, "ct")
    assert len(before.cases) == 4
    fail(monkeypatch, OSError(code, os.strerror(code), "bad"), after)
    found = discover(cohort, "ct")
    bad = [item for item in found.rejected if item.broken]
    assert len(bad) == 6, "each slice that cannot be read is said"
    assert all(os.strerror(code) in item.reason for item in bad)
    for case in before.cases:
        is_bad = "bad" in str(case.files[0].relative_to(cohort))
        if not is_bad:
            read_case(case)
            continue
        for work in (read_case, input_digest) if case.kind == "dicom" or not after else ():
            with pytest.raises(CaseError) as caught:
                work(case)
            assert "\n" not in str(caught.value)
            if code != errno.ENOENT:
                assert os.strerror(code) in str(caught.value)
                assert "copy it again" not in str(caught.value)


def test_no_memory_is_a_failed_case(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = discover(cohort, "ct").cases
    fail(monkeypatch, MemoryError(), 0)
    for case in cases:
        if "bad" in str(case.files[0].relative_to(cohort)):
            with pytest.raises(CaseError, match="does not fit into memory; use fewer --workers"):
                read_case(case)


@pytest.mark.parametrize("code", ERRORS)
def test_a_folder_that_cannot_be_listed_is_named(cohort: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.scandir

    def listed(path: Any) -> Any:
        if str(path).endswith("bad"):
            raise OSError(code, os.strerror(code), str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", listed)
    found = discover(cohort, "ct")
    assert len(found.cases) == 3
    (line,) = found.rejected
    assert line.broken
    assert os.strerror(code) in line.reason


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ELOOP])
def test_an_input_that_cannot_be_looked_at_is_named(cohort: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.stat

    def status(self: Path, **more: Any) -> os.stat_result:
        if self.name == "bad":
            raise OSError(code, os.strerror(code), str(self))
        return whole(self, **more)

    monkeypatch.setattr(Path, "stat", status)
    found = discover([cohort / "good", cohort / "bad"], "ct")
    assert len(found.cases) == 1
    assert [item.broken for item in found.rejected] == [True]


def test_a_nifti_that_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    from ctseg.io.nifti.file import open_nifti

    os.mkfifo(tmp_path / "a.nii")
    with pytest.raises(CaseError, match=r"a\.nii: .*a named pipe, not a file"):
        open_nifti(tmp_path / "a.nii")
