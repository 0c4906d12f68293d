"""The picture of a slice set says which side is which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctseg.preprocess import preview
from ctseg.preprocess.cases import CaseSlices


def test_a_tile_says_where_the_patients_right_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def keep(rows, **rest):
        drawn.extend(rows)
        return draw(rows, **rest)

    draw = preview.draw_sheet
    monkeypatch.setattr(preview, "draw_sheet", keep)
    images = np.zeros((2, 32, 32), np.uint8)
    images[:, 8:24, 8:16] = 200  # to the patient's right, since columns run from right to left
    table = pd.DataFrame({"slice_id": ["a", "b"], "brain_px": [128, 128]})
    sheet = preview.Preview()
    sheet.add(CaseSlices("a", images, None, table, ()))
    sheet.save(tmp_path / "preview.png")
    tiles = [tile for row in drawn for tile in row]
    assert [tile.sides for tile in tiles] == [("R", "L")] * 2
    assert all(tile.image[:, :16].sum() > 0 == tile.image[:, 16:].sum() for tile in tiles)
    assert (tmp_path / "preview.png").stat().st_size > 0
