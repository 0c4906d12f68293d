"""What training scans were like, and what is said of scans that are not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ctseg.inference.ood import distance_hu, ood_flags, prepared_traits, training_profile
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import open_slices
from ctseg.preprocess.frame import Frame
from ctseg.preprocess.prepared import Prepared

SIZE, PIXEL_MM, MAP = 32, 4.0, (2.55, 0.0)


def discs(count=9, grey=80, radius=10, noise=0):
    """(K, H, W) discs of one grey value, smaller towards the ends."""
    rows, cols = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    height = np.linspace(-1, 1, count)[:, None, None]
    inside = rows**2 + cols**2 < (radius * (1 - 0.55 * height**2)) ** 2
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


def test_thin_slices_are_like_the_others_and_very_thick_ones_are_flagged_with_both_numbers(training):
    assert told(training, discs(), step_mm=1.0) == []
    assert told(training, discs(), step_mm=14.0) == ["slice step 14.0 mm (training 4.0 to 5.0)"]


def test_a_small_head_is_flagged(training):
    (text,) = told(training, discs(radius=6))
    assert text.startswith("largest brain area 18 cm2 (training 51 to 51)")


def test_shifted_hu_are_flagged(training):
    texts = told(training, discs(grey=110))
    assert [text.split()[0] for text in texts] == ["median", "HU"]
    assert "median of the brain 42.7 HU" in texts[0]
    assert told(training, discs(grey=88)) == []  # 2 HU: scanners differ by as much


def test_another_spread_of_hu_with_the_same_median_is_flagged(training):
    rng = np.random.default_rng(0)
    images = discs()
    spread = np.where(images > 0, rng.integers(1, 160, images.shape), 0).astype(np.uint8)
    texts = told(training, spread)
    assert texts[0].startswith("spread of the brain (quartiles) 31")
    assert texts[-1].startswith("HU histogram")


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
    two = np.repeat(["a", "b"], 15)
    few = replace(training, table=training.table.assign(patient_id=two, series_id=two))
    assert training_profile(few) == {}
    lone = replace(training, table=training.table.assign(series_id=training.table["slice_id"]))
    assert training_profile(lone)["ranges"]["slice_step_mm"] == [None, None]


def test_a_profile_of_an_earlier_form_says_nothing(training):
    old = {key: value for key, value in training_profile(training).items() if key != "form"}
    assert ood_flags(old, prepared(discs(grey=110)), np.arange(9) * 4.5, PIXEL_MM) == []


@pytest.fixture
def whole(training):
    """The same scans with every slice."""
    images = np.concatenate([discs(grey=77 + (scan % 3) * 3, noise=scan) for scan in range(6)])
    table = pd.DataFrame(
        {
            "series_id": np.repeat([f"s{scan}" for scan in range(6)], 9), "index": np.tile(np.arange(9), 6),
            "z_mm": np.tile(np.arange(9) * 4.5, 6), "spacing_row_mm": PIXEL_MM, "spacing_col_mm": PIXEL_MM,
            "brain_px": (images > 0).sum(axis=(1, 2)),
        }
    )  # fmt: skip
    return replace(training, table=table, images=images)


def test_a_head_that_is_cut_off_is_flagged(whole):
    ends = discs()
    ends[[0, -1], :, : SIZE // 2] = 0  # whole heads begin and end with little brain
    small = replace(whole, images=np.concatenate([ends] * 6), table=whole.table.assign(
        brain_px=np.tile((ends > 0).sum(axis=(1, 2)), 6)))  # fmt: skip
    assert told(small, ends) == []
    (text,) = told(small, ends[:5])
    assert text.startswith("brain in the highest slice 100 % of the largest (training ")


def test_chosen_slices_make_no_whole_scan_odd_and_no_cut_one_usual(training):
    """A set of the slices with blood holds the middle of each scan: five slices that follow each other."""
    scans = [discs(grey=77 + (scan % 3) * 3, noise=scan)[2:7] for scan in range(6)]
    table = pd.DataFrame(
        {
            "series_id": np.repeat([f"s{scan}" for scan in range(6)], 5), "index": np.tile(np.arange(2, 7), 6),
            "z_mm": np.tile(np.arange(5) * 4.5, 6), "spacing_row_mm": PIXEL_MM, "spacing_col_mm": PIXEL_MM,
            "brain_px": (np.concatenate(scans) > 0).sum(axis=(1, 2)),
        }
    )  # fmt: skip
    chosen = replace(training, table=table, images=np.concatenate(scans))
    low, high = training_profile(chosen)["ranges"]["base_share"]
    assert low == high > 0.7
    assert told(chosen, discs()) == []
    below, above = told(chosen, discs(15)[5:]), told(chosen, discs(15)[:10])
    assert below == ["brain in the lowest slice 90 % of the largest (whole heads up to 50)"]
    assert above == ["brain in the highest slice 90 % of the largest (whole heads up to 22)"]


def test_sideways_movement_is_flagged_and_the_drift_of_a_tilted_series_is_not(whole):
    still = discs(grey=80)
    assert told(whole, np.stack([np.roll(image, k - 4, axis=0) for k, image in enumerate(still)])) == []
    moved = np.stack([np.roll(image, 3 * (k % 2), axis=1) for k, image in enumerate(still)])
    (text,) = told(whole, moved)
    assert text.startswith("sideways movement between slices 24.0 mm")


def test_noise_is_measured_in_hu(training):
    rng = np.random.default_rng(3)
    flat = discs(grey=80) * 0 + np.where(discs() > 0, 80, 0)
    for sigma in (4.0, 10.0):
        noisy = np.where(flat > 0, flat + rng.normal(0, sigma, flat.shape), 0).clip(0, 255).astype(np.uint8)
        traits = prepared_traits(prepared(noisy), np.arange(9) * 4.5, PIXEL_MM)
        assert traits.values["noise_hu"] == pytest.approx(sigma / 2.55, rel=0.1)


def test_histogram_distance_is_the_way_the_values_moved():
    one, other = np.eye(8)[2], np.eye(8)[5]
    assert distance_hu(one, other, 3.0) == pytest.approx(9.0)
    assert distance_hu(one, one, 3.0) == 0


def brain_with(pixel_mm: float, *, vessels: bool = False, bleed: bool = False) -> np.ndarray:
    """(3, H, W) grey values at 2.55 a HU: a round brain of 30 HU, with vessels of 60 HU and 3 mm, or a bleed."""
    size = round(180 / pixel_mm)
    rows, cols = (np.mgrid[:size, :size] + 0.5 - size / 2) * pixel_mm
    hu = 30 + 1.5 * np.random.default_rng(0).standard_normal((3, size, size))
    if vessels:
        hu[:, (np.abs(rows % 20 - 10) < 1.5) & (np.abs(cols % 20 - 10) < 6)] = 60
    if bleed:
        hu[:, np.hypot(rows, cols - 20) < 25] = 60 + 10 * np.sin(rows[np.hypot(rows, cols - 20) < 25])
    return np.where(np.hypot(rows, cols) < 80, np.clip(2.55 * hu, 1, 255), 0).astype(np.uint8)


@pytest.mark.parametrize("pixel_mm", [0.75, 1.5, 2.0])
def test_thin_bright_structures_are_vessels_and_neither_noise_nor_a_bleed(training, pixel_mm):
    def share(images):
        return prepared_traits(prepared(images), np.arange(3) * 5.0, pixel_mm).values["thin_share"]

    assert share(brain_with(pixel_mm)) < 0.005
    assert share(brain_with(pixel_mm, bleed=True)) < 0.01
    assert share(brain_with(pixel_mm, vessels=True)) > 0.05


def test_contrast_medium_is_said_with_the_largest_share_without_it(training):
    profile = training_profile(training)
    assert "thin_share" not in profile["ranges"]  # headers, and so digests of models, stay as they were
    frame = Frame((120, 120), (120, 120), 0.0, 1.0, 0.0, 1.0)
    texts = ood_flags(profile, prepared(brain_with(1.5, vessels=True), frame), np.arange(3) * 4.5, 1.5)
    (text,) = [text for text in texts if text.startswith("thin bright structures in the brain")]
    assert text.endswith("% (without contrast medium up to 3.0)")
    plain = ood_flags(profile, prepared(brain_with(1.5, bleed=True), frame), np.arange(3) * 4.5, 1.5)
    assert not [text for text in plain if text.startswith("thin")]
