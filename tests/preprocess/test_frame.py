from __future__ import annotations

import numpy as np
import pytest

from ctseg.preprocess.frame import Frame, centred_frame, whole_frame


def brain_box(shape: tuple[int, int], rows: slice, cols: slice) -> np.ndarray:
    brain = np.zeros((1, *shape), bool)
    brain[0, rows, cols] = True
    return brain


def test_a_scan_with_the_models_spacing_is_copied(rng):
    brain = brain_box((40, 36), slice(10, 31), slice(6, 25))
    frame = centred_frame(brain, (1.0, 1.0), 32, 32.0)
    picture = rng.normal(size=(1, 40, 36)).astype(np.float32)
    row, col = int(frame.row_start), int(frame.col_start)
    assert (frame.row_start, frame.col_start) == (row, col)
    rows, cols = np.arange(row, row + 32), np.arange(col, col + 32)
    inside = (cols >= 0) & (cols < 36)
    made = frame.to_model(picture)[0]
    np.testing.assert_allclose(made[:, inside], picture[0][np.ix_(rows, cols[inside])])
    assert not made[:, ~inside].any()


@pytest.mark.parametrize("spacing", [0.45, 0.5, 0.8, 1.0, 1.7])
def test_the_brain_is_in_the_middle(spacing):
    brain = brain_box((120, 100), slice(20, 81), slice(40, 91))
    made = centred_frame(brain, (spacing, spacing), 64, 128.0).to_model(brain)[0] > 0.5
    rows, cols = np.flatnonzero(made.any(axis=1)), np.flatnonzero(made.any(axis=0))
    assert abs((rows[0] + rows[-1]) / 2 - 31.5) <= 1
    assert abs((cols[0] + cols[-1]) / 2 - 31.5) <= 1


def test_widths_in_mm_are_kept():
    brain = brain_box((120, 120), slice(20, 100), slice(30, 80))
    made = centred_frame(brain, (0.5, 0.8), 80, 80.0).to_model(brain)[0]
    assert made.sum() == pytest.approx(80 * 0.5 * 50 * 0.8, rel=1e-3)


def test_shrinking_averages_and_never_skips_pixels(rng):
    stripes = np.zeros((1, 60, 60), np.float32)
    stripes[:, ::2] = 100
    made = whole_frame((60, 60), (0.5, 0.5), 2.0).to_model(stripes)[0]
    np.testing.assert_allclose(made[2:-2, 2:-2], 50, atol=7)


def test_linear_pictures_survive_resampling_both_ways():
    rows, cols = np.meshgrid(np.arange(50.0), np.arange(60.0), indexing="ij")
    picture = (2 * rows - 3 * cols)[None]
    frame = Frame((70, 80), (50, 60), 3.25, 0.6, 4.5, 0.65)
    made = frame.to_model(picture)
    i, j = np.meshgrid(np.arange(70), np.arange(80), indexing="ij")
    np.testing.assert_allclose(made[0], 2 * (3.25 + 0.6 * i) - 3 * (4.5 + 0.65 * j), atol=1e-3)
    back = frame.to_native(made)[0]
    twentieth_of_a_pixel = 0.05 * (2 + 3)  # the stretched kernel is symmetric only on average
    np.testing.assert_allclose(back[6:42, 8:52], picture[0, 6:42, 8:52], atol=twentieth_of_a_pixel)


def test_masks_come_back_where_they_were():
    mask = brain_box((128, 128), slice(40, 71), slice(50, 91))
    frame = centred_frame(mask, (0.5, 0.5), 64, 64.0)
    back = frame.to_native(frame.to_model(mask))[0] >= 0.5
    assert (back != mask[0]).sum() <= 2 * (31 + 41)
    assert back.sum() == pytest.approx(mask.sum(), rel=0.06)


def test_nearest_keeps_label_values(rng):
    labels = rng.integers(0, 4, (2, 30, 30)).astype(np.float32)
    made = whole_frame((30, 30), (1.0, 1.0), 3.0).to_model(labels, order=0)
    np.testing.assert_array_equal(made, labels[:, 1::3, 1::3])


def test_a_part_of_the_native_pixels_is_that_part(rng):
    frame = Frame((24, 24), (61, 47), 3.0, 2.2, -4.0, 1.7)
    maps = rng.random((2, 24, 24)).astype(np.float32)
    part = slice(7, 50), slice(0, 31)
    np.testing.assert_array_equal(frame.to_native(maps, part=part), frame.to_native(maps)[:, part[0], part[1]])


@pytest.mark.parametrize("step", [0.4, 0.97, 1.0, 2.2, 3.6])
def test_nothing_of_some_model_pixels_lies_beyond_their_native_part(rng, step):
    frame = Frame((24, 24), (61, 47), 3.0, step, -4.0, 1.7)
    for _ in range(20):
        block = tuple(slice(first, first + 1 + int(rng.integers(6))) for first in rng.integers(0, 24, 2))
        maps = np.zeros((1, 24, 24), np.float32)
        maps[0][block] = 1
        native = frame.to_native(maps)[0]
        part = frame.native_part(block)
        inside = np.count_nonzero(native[part])
        assert inside == np.count_nonzero(native)
        within = slice(9, 30), slice(5, 20)
        cut = frame.native_part(block, within=within)
        assert np.count_nonzero(native[cut]) == np.count_nonzero(native[within])
        assert all(a.start <= c.start <= c.stop <= a.stop for a, c in zip(within, cut, strict=True))


def test_a_part_of_the_native_slices_gives_what_it_holds(rng):
    frame = Frame((24, 24), (61, 47), 3.0, 2.2, -4.0, 1.7)
    pictures = np.zeros((2, 61, 47), np.float32)
    part = slice(7, 50), slice(3, 31)
    pictures[:, *part] = rng.random((2, 43, 28))
    made = frame.to_model((picture[part] for picture in pictures), part=part)
    np.testing.assert_array_equal(made, frame.to_model(pictures))


def test_slices_may_come_one_at_a_time(rng):
    frame = Frame((24, 24), (61, 47), 3.0, 2.2, -4.0, 1.7)
    pictures = rng.random((3, 61, 47)).astype(np.float32)
    np.testing.assert_array_equal(frame.to_model(iter(pictures)), frame.to_model(pictures))
    assert frame.to_model(pictures[:0]).shape == (0, 24, 24)
