import time
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from segment_helpers import Head, NonAirIsBrain, bright_models

from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.inference.outputs import write_case
from ctseg.inference.predict import predict_volume
from ctseg.inference.preview import slices_to_show, write_preview, write_solid
from ctseg.inference.settings import SegmentSettings
from ctseg.render.solid import NAME_HEIGHT, draw_solid


@pytest.fixture(scope="module")
def prediction(tilted):
    volume = tilted.volume(Head().hu(tilted.points()))
    return predict_volume(volume, bright_models(), SegmentSettings(), NonAirIsBrain())


def test_slices_with_the_most_lesion_are_shown_from_feet_to_head():
    mask = np.zeros((9, 4, 4), bool)
    for k, area in [(1, 3), (4, 1), (5, 7), (8, 2)]:
        mask[k].flat[:area] = True
    brain = np.ones_like(mask)
    assert slices_to_show(mask, brain, 3) == [1, 5, 8]
    assert slices_to_show(mask, brain, 6) == [1, 4, 5, 8]
    mask[1:5] = mask[8] = False
    assert slices_to_show(mask, brain, 6) == [4, 5, 6]


def test_without_lesion_slices_are_spread_over_the_brain():
    brain = np.zeros((30, 4, 4), bool)
    brain[10:21] = True
    assert slices_to_show(np.zeros_like(brain), brain, 3) == [12, 15, 18]
    assert len(slices_to_show(np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool))) == 1


def test_picture_shows_an_orange_outline_on_the_patients_left(prediction, tmp_path):
    write_preview(tmp_path / "case.png", prediction)
    picture = matplotlib.image.imread(tmp_path / "case.png")[..., :3]
    assert picture.shape[1] == 960
    orange = (picture[..., 0] - picture[..., 1:].max(axis=-1)) > 0.4
    assert orange.sum() > 200
    columns = np.nonzero(orange[:, :320])[1]  # first panel
    assert columns.mean() > 160


def test_picture_of_a_case_without_lesion_has_no_outline(prediction, tmp_path):
    write_preview(tmp_path / "case.png", replace(prediction, mask=np.zeros_like(prediction.mask)))
    picture = matplotlib.image.imread(tmp_path / "case.png")[..., :3]
    assert not ((picture[..., 0] - picture[..., 1:].max(axis=-1)) > 0.4).any()


def orange_in(path):
    """Where a picture is orange, and where it is anything but black, below the letters."""
    picture = matplotlib.image.imread(path)[30:, :, :3]
    return (picture[..., 0] - picture[..., 2]) > 0.4, picture.max(axis=-1) > 0.1


def test_the_lesion_lies_in_the_brain_where_the_letters_say(prediction, tmp_path):
    """The bleed is at the patient's left, to the front; each view has its letters, and no skin is drawn."""
    write_solid(tmp_path / "case.png", prediction)
    orange, filled = orange_in(tmp_path / "case.png")
    columns = np.flatnonzero(filled.any(axis=0))
    views = np.split(columns, np.flatnonzero(np.diff(columns) > 8) + 1)
    assert len(views) == 3
    places = []
    for view in views:
        found = np.flatnonzero(orange[:, view[0] : view[-1] + 1].any(axis=0))
        places.append(found.mean() / len(view))
    front, left, above = places
    assert front > 0.55  # R at the left, L at the right
    assert left < 0.5  # A at the left
    assert above < 0.45  # L at the left
    write_solid(tmp_path / "none.png", replace(prediction, mask=np.zeros_like(prediction.mask)))
    assert not orange_in(tmp_path / "none.png")[0].any()
    no_brain = np.zeros_like(prediction.brain)
    write_solid(tmp_path / "empty.png", replace(prediction, mask=no_brain, brain=no_brain))
    assert not orange_in(tmp_path / "empty.png")[0].any()


def test_a_tilted_scan_is_drawn_upright(tilted):
    """A ball is as wide as it is high from each side, also where slices are tilted and their steps uneven."""
    points = tilted.points()
    volume = tilted.volume(Head().hu(points))
    ball = (points**2).sum(axis=-1) < 25**2
    picture = np.asarray(draw_solid(volume, ball, np.zeros_like(ball))).max(axis=-1) > 40
    picture[:30] = picture[-NAME_HEIGHT:] = False  # the letters
    columns = np.flatnonzero(picture.any(axis=0))
    for view in np.split(columns, np.flatnonzero(np.diff(columns) > 4) + 1):
        rows = np.flatnonzero(picture[:, view[0] : view[-1] + 1].any(axis=1))
        assert len(view) / (rows[-1] - rows[0] + 1) == pytest.approx(1, abs=0.12)


def test_the_lesion_in_the_brain_takes_little_time(prediction, tmp_path):
    started = time.process_time()
    write_solid(tmp_path / "case.png", prediction)
    assert time.process_time() - started < 0.5


def test_one_setting_leaves_the_solid_out(prediction, tmp_path):
    algorithm = SegAlgorithm("test")
    for name, changes in {"both": {}, "plain": {"preview_3d": False}, "none": {"preview": False}}.items():
        (tmp_path / name).mkdir()
        write_case(tmp_path / name, "a", prediction, SegmentSettings(dicom_seg=False, **changes), algorithm)
    found = {name: (tmp_path / name / "3d" / "a.png").exists() for name in ("both", "plain", "none")}
    assert found == {"both": True, "plain": False, "none": False}
