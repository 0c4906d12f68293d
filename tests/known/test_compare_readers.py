"""The comparison with other readers finds what differs; the public data themselves are no part of the repository."""

from __future__ import annotations

from pathlib import Path

import compare_readers
import cube
import numpy as np
import peers
import pytest
from page import Row

from ctseg.io.dicom import reader


@pytest.mark.slow
def test_same_readings_are_same_and_a_changed_one_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cube.series(tmp_path / "data" / "oblique", "oblique")
    cube.nifti(tmp_path / "data" / "scan_ct.nii.gz", "PIR")
    argv = [str(tmp_path / "data"), "--page", str(tmp_path / "page.md"), "--programs", str(tmp_path)]
    assert compare_readers.main(argv) == 0
    said = capsys.readouterr().out
    assert said.count("SimpleITK same") == 2
    assert "nibabel same" in said
    assert "ctseg, zip same" in said
    assert "2 scans read, 0 unnamed differences" in said
    page = (tmp_path / "page.md").read_text()
    assert "Differences that no note names: **0**, in 2 scans" in page
    right = reader.slice_values

    def wrong(*args: object) -> object:
        values, notes = right(*args)  # type: ignore[arg-type]
        return values + np.float32(1), notes

    monkeypatch.setattr(reader, "slice_values", wrong)
    assert compare_readers.main(argv[:-4]) == 1
    assert "UNNAMED data/oblique/000.dcm and 29 more: SimpleITK: values" in capsys.readouterr().out


def test_a_difference_is_named_only_by_a_note_about_it() -> None:
    row = Row(
        "set", "file", 1, "read", ("tilted by 9 degrees",), {"peer": peers.Verdict("differs", "positions", "2 mm")}
    )
    assert row.unsaid() == []
    row.verdicts["other"] = peers.Verdict("differs", "values", "3 voxels")
    assert row.unsaid() == ["other: values: 3 voxels"]
