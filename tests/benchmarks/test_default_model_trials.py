"""The data of the default model's trials: heads of a template, painted pseudo-CT, joined slice sets."""

from __future__ import annotations

import json
from pathlib import Path

import default_model_trials as trials
import numpy as np
import pandas as pd
import pytest

from ctseg.io.discover import discover, read_case
from ctseg.io.slices import open_slices
from ctseg.preprocess.brain import MuschelliExtractor

COLUMNS = {"index": 0, "z_mm": 0, "spacing_row_mm": 1.5, "spacing_col_mm": 1.5, "brain_px": 1, "lesion_px": 1,
           "intensity_a": 2.55, "intensity_b": 0, "split": "val"}  # fmt: skip


def rows(count: int, seed: int) -> pd.DataFrame:
    names = {name: [f"{name}-{seed}-{place}" for place in range(count)] for name in trials.NAMES}
    return pd.DataFrame({**names, "patient_id": f"p{seed}"}).assign(**COLUMNS).astype(str)


def like(folder: Path, size: int) -> Path:
    info = {"schema": "ctseg-slices/1", "domain": "ct", "size": [size, size], "labelled": True, "settings": {},
            "intensity": {"a": 2.55, "b": 0.0, "unit": "HU"}}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def test_joined_sets_have_all_rows_and_names_of_their_own(tmp_path: Path, rng: np.random.Generator) -> None:
    for name, count in (("a", 6), ("b", 4)):
        images = rng.integers(0, 255, (count, 32, 32)).astype(np.uint8)
        part = (images, (images > 200).astype(np.uint8), rows(count, count))
        trials.write(tmp_path / name, [part], like(tmp_path, 32))
    trials.mix(tmp_path / "both", [(tmp_path / "a", 1), (tmp_path / "b", 3)])
    both = open_slices(tmp_path / "both")
    assert len(both.images) == 6 + 3 * 4
    assert np.array_equal(both.images[6:10], both.images[14:18])
    assert both.table["slice_id"].is_unique
    assert set(both.table["split"]) == {"train"}
    assert both.info["counts"]["slices"] == 18


def test_painted_lesions_are_blood_and_brain_has_31_hu(tmp_path: Path) -> None:
    images = np.zeros((3, 96, 96), np.uint8)
    images[:, 10:86, 10:86] = np.random.default_rng(0).integers(95, 115, (3, 76, 76))
    masks = np.zeros_like(images)
    masks[0, 30:50, 30:50] = 1
    masks[1, 40, 40] = 1  # too small to be painted
    trials.write(tmp_path / "pseudo", [(images, masks, rows(3, 1))], like(tmp_path, 96))
    trials.paint(tmp_path / "pseudo", tmp_path / "painted", 2)
    painted = open_slices(tmp_path / "painted")
    assert len(painted.images) == 4
    assert painted.masks is not None
    blood = painted.masks[:] > 0
    assert blood.any(axis=(1, 2)).tolist() == [True, False, True, False]
    brain = painted.images[:][(painted.images[:] > 0) & ~blood]
    assert np.median(brain) == pytest.approx(31 * 2.55, abs=2)
    for place in (0, 2):
        hu = painted.images[place][blood[place]].mean() / 2.55
        assert 34 < hu < 70
    assert not np.array_equal(painted.images[0], painted.images[2])


@pytest.mark.slow
def test_a_template_becomes_a_head_whose_brain_is_found(real_data: Path, tmp_path: Path) -> None:
    trials.make_head(real_data / "ct-template", 1, tmp_path)
    (case,) = discover([tmp_path / "scans"], "ct").cases
    head = read_case(case)
    brain = MuschelliExtractor()(head)
    ml = float(brain.sum()) * trials.PIXEL_MM**2 * float(np.diff(head.z_mm).mean()) / 1000
    assert 900 < ml < 2200
    assert 20 < np.median(head.voxels[brain]) < 45
