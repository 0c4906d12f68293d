from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np

from ctseg.render.pictures import curves_png, grid_png


def test_grid_draws_slices_and_outline(tmp_path: Path) -> None:
    image = np.full((20, 20), 128, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    grid_png(tmp_path / "plain.png", [[image, image]], ["one", "two"])
    grid_png(tmp_path / "outlined.png", [[image, image]], ["one", "two"], [[mask, None]])
    plain, outlined = (matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3] for name in ("plain", "outlined"))
    coloured = np.ptp(outlined, axis=2) > 0.3
    assert np.ptp(plain, axis=2).max() < 0.01
    half = plain.shape[1] // 2
    assert coloured[:, :half].any()
    assert not coloured[:, half:].any()


def test_an_empty_mask_has_no_outline(tmp_path: Path) -> None:
    image = np.zeros((8, 8), np.uint8)
    grid_png(tmp_path / "a.png", [[image, image]], ["a", "b"], [[image, None]])
    assert np.ptp(matplotlib.image.imread(tmp_path / "a.png")[..., :3], axis=2).max() < 0.01


def test_curves_need_a_number_in_two_rows(tmp_path: Path) -> None:
    assert curves_png(tmp_path / "c.png", [{"epoch": 0, "loss": 1.0}]) is None
    rows = [{"epoch": epoch, "loss": 1.0, "warnings": ["x"], "once": 1.0} for epoch in range(2)]
    rows[1].pop("once")
    assert curves_png(tmp_path / "c.png", rows) == tmp_path / "c.png"
    assert (tmp_path / "c.png").stat().st_size > 1000
