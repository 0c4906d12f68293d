from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from segment_helpers import Head, NonAirIsBrain, bright_models

from ctseg.inference.predict import predict_volume
from ctseg.inference.preview import slices_to_show, write_preview
from ctseg.inference.settings import SegmentSettings


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
