"""What training scans were like, and what is said of scans that are not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ctseg.inference.ood import distance_hu, ood_flags, training_profile
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import open_slices
from ctseg.preprocess.frame import Frame
from ctseg.preprocess.prepared import Prepared

SIZE, PIXEL_MM, MAP = 32, 4.0, (2.55, 0.0)


def discs(count=9, grey=80, radius=10, noise=0):
    """(K, H, W) discs of one grey value, smaller towards the ends."""
    rows, cols = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    height = np.linspace(-1, 1, count)[:, None, None]
    inside = rows**2 + cols**2 < (radius * (1 - 0.3 * height**2)) ** 2
    grain = np.random.default_rng(noise).integers(-20, 21, inside.shape)
    return np.where(inside, grey + grain, 0).astype(np.uint8)


def prepared(images, frame=None):
    brain = images > 0
    return Prepared(images, brain, brain, frame or Frame((SIZE, SIZE), (SIZE, SIZE), 0.0, 1.0, 0.0, 1.0), MAP)


@pytest.fixture
def training(tmp_path):
    """Six scans: steps of 4 to 5 mm, median 30 to 33 HU; of each every second slice was kept."""
    images, tables = [], []
    for scan in range(6):
        stack = discs(grey=77 + (scan % 3) * 3, noise=scan)[::2]
        index = np.arange(0, 9, 2)
        images.append(stack)
        tables.append(
            pd.DataFrame(
                {
                    "slice_id": [f"{scan}_{k}" for k in index], "patient_id": f"p{scan}", "series_id": f"s{scan}",
                    "index": index, "z_mm": index * (4.0 + 0.2 * scan), "spacing_row_mm": PIXEL_MM,
                    "spacing_col_mm": PIXEL_MM, "brain_px": (stack > 0).sum(axis=(1, 2)), "lesion_px": "",
                    "split": "train",
                }
            )
        )  # fmt: skip
    write_slices(
        tmp_path, domain="ct", images=np.concatenate(images), masks=None, table=pd.concat(tables),
        intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings={},
    )  # fmt: skip
    return open_slices(tmp_path)


def told(training, images, step_mm=4.5, frame=None):
    return ood_flags(training_profile(training), prepared(images, frame), np.arange(len(images)) * step_mm, PIXEL_MM)


def test_ranges_are_those_of_the_scans_also_where_slices_were_left_out(training):
    profile = training_profile(training)
    assert profile["scans"] == 6
    assert profile["ranges"]["slice_step_mm"] == [4.0, 5.0]
    low, high = profile["ranges"]["median_hu"]
    assert low == pytest.approx(77 / 2.55, abs=1)
    assert high == pytest.approx(83 / 2.55, abs=1)
    area = np.count_nonzero(discs()[4]) * PIXEL_MM**2 / 100
    assert profile["ranges"]["brain_cm2"] == [pytest.approx(area, abs=0.01)] * 2
    assert sum(profile["histogram"]) == pytest.approx(1, abs=1e-4)
    json.dumps(profile, allow_nan=False)


def test_a_scan_like_the_others_is_not_flagged(training):
    assert told(training, discs(grey=80, noise=99)) == []


def test_thin_slices_are_flagged_with_both_numbers(training):
    assert told(training, discs(), step_mm=1.0) == ["slice step 1.0 mm (training 4.0 to 5.0)"]


def test_a_small_head_is_flagged(training):
    (text,) = told(training, discs(radius=6))
    assert text.startswith("largest brain area 18 cm2 (training 51 to 51)")


def test_shifted_hu_are_flagged(training):
    texts = told(training, discs(grey=110))
    assert [text.split()[0] for text in texts] == ["median", "HU"]
    assert "median of the brain 42.7 HU" in texts[0]


def test_another_spread_of_hu_with_the_same_median_is_flagged(training):
    rng = np.random.default_rng(0)
    images = discs()
    spread = np.where(images > 0, rng.integers(1, 160, images.shape), 0).astype(np.uint8)
    (text,) = told(training, spread)
    assert text.startswith("HU histogram")


def test_brain_beyond_the_field_of_view_is_said_even_without_a_profile():
    """A model that sees only the left half of the picture's columns."""
    images = discs()
    half = replace(
        prepared(images[:, :, : SIZE // 2], Frame((SIZE, SIZE // 2), (SIZE, SIZE), 0.0, 1.0, 0.0, 1.0)),
        native_brain=images > 0,
    )
    assert ood_flags({}, half, np.arange(9) * 4.5, PIXEL_MM) == ["50% of the brain beyond the model's field of view"]
    assert ood_flags({}, prepared(images), np.arange(9) * 4.5, PIXEL_MM) == []


def test_few_scans_make_no_profile_and_single_slices_no_step(training):
    few = replace(training, table=training.table.assign(series_id=np.repeat(["a", "b"], 15)))
    assert training_profile(few) == {}
    lone = replace(training, table=training.table.assign(series_id=training.table["slice_id"]))
    assert training_profile(lone)["ranges"]["slice_step_mm"] == [None, None]


def test_histogram_distance_is_the_way_the_values_moved():
    one, other = np.eye(8)[2], np.eye(8)[5]
    assert distance_hu(one, other, 3.0) == pytest.approx(9.0)
    assert distance_hu(one, one, 3.0) == 0
