"""Members that agree, differ by hand-made amounts, and what a segmentation says of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from segment_helpers import UNEVEN_Z, Head, NonAirIsBrain, Stack, bright_model, bright_models, write_dicom
from torch import nn

from ctseg.inference.disagreement import Members, entropy_bits
from ctseg.inference.models import by_preprocessing
from ctseg.inference.predict import predict_volume
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover
from ctseg.plugins.protocols import SegmenterOutput


class LeftOfTheMiddle(nn.Module):
    """Outlines the columns left of the middle whatever it sees, so mirror images disagree wholly."""

    def forward(self, images):
        return SegmenterOutput(torch.linspace(30, -30, images.shape[-1]).expand_as(images), images)


@pytest.fixture
def volume():
    stack = Stack(np.arange(5) * 4.0, 0.0, 16, 2.0)
    return stack.volume(np.zeros((5, 16, 16)))


def slab(rows):
    """Probability 0.9 in the first `rows` rows of every slice, else 0.1."""
    maps = np.full((5, 16, 16), 0.1, np.float32)
    maps[:, :rows] = 0.9
    return maps


def test_volumes_dice_and_entropy_by_hand(volume):
    members = Members(volume, 0.0)
    sizes = (4, 8, 12)
    for rows in sizes:
        members.add(slab(rows) >= 0.5)
    mean = np.mean([slab(rows) for rows in sizes], axis=0, dtype=np.float32)
    found = members.disagreement(mean)
    row_ml = 5 * 16 * 2.0 * 2.0 * 4.0 / 1000
    assert found.members == 3
    assert (found.ml_low, found.ml_high) == (pytest.approx(4 * row_ml), pytest.approx(12 * row_ml))
    expected = np.mean([2 * min(pair) / sum(pair) for pair in combinations(sizes, 2)])
    assert found.agreement == pytest.approx(expected)
    by_third = [(0.9 * n + 0.1 * (3 - n)) / 3 for n in (3, 2, 1)]
    assert found.entropy_bits == pytest.approx(
        np.mean([-(p * np.log2(p) + (1 - p) * np.log2(1 - p)) for p in by_third])
    )


def test_empty_members_agree_and_one_member_says_nothing(volume):
    members = Members(volume, 0.0)
    members.add(slab(4) >= 0.95)
    assert members.disagreement(slab(4)) is None
    members.add(slab(8) >= 0.95)
    found = members.disagreement(slab(4))
    assert (found.ml_low, found.ml_high, found.agreement, found.entropy_bits) == (0, 0, 1, 0)


def test_small_lesions_count_in_no_member(volume):
    members = Members(volume, 1000.0)
    for rows in (4, 8):
        members.add(slab(rows) >= 0.5)
    assert members.disagreement(slab(4)).ml_high == 0


def test_entropy_is_one_bit_at_one_half_and_none_at_the_ends():
    np.testing.assert_allclose(entropy_bits(np.array([0, 0.5, 1], np.float32)), [0, 1, 0], atol=1e-9)


def test_mirrors_that_contradict_each_other_are_seen_and_equal_models_are_not():
    stack = Stack(np.arange(5) * 4.0, 0.0)
    head = stack.volume(Head().hu(stack.points()))
    bright = bright_model()
    alone = predict_volume(head, by_preprocessing([bright]), SegmentSettings(), NonAirIsBrain())
    same = predict_volume(head, by_preprocessing([bright, bright]), SegmentSettings(), NonAirIsBrain())
    assert alone.disagreement is None
    assert same.disagreement.members == 2
    assert same.disagreement.agreement == 1
    assert same.disagreement.ml_low == same.disagreement.ml_high == pytest.approx(same.measures.ml)
    half = replace(bright, module=LeftOfTheMiddle().eval())
    torn = predict_volume(head, by_preprocessing([half]), SegmentSettings(tta=True), NonAirIsBrain()).disagreement
    assert torn.members == 4
    assert torn.agreement == pytest.approx(1 / 3, abs=0.05)  # of six pairs two show the same side, four share nothing
    assert torn.ml_low > 0


def test_a_calibrated_range_is_written_where_a_factor_is_given(tmp_path):

    write_dicom(tmp_path / "scan", Stack(UNEVEN_Z, 0.0), Head())
    cases = discover(tmp_path / "scan").cases
    plain = SegmentSettings(preview=False, dicom_seg=False, tta=True)
    wide = plain.model_copy(update={"range_factor": 2.0})
    rows = [
        segment_cases(cases, bright_models(), tmp_path / str(place), settings, extractor=NonAirIsBrain())[0]
        for place, settings in enumerate((plain, wide))
    ]
    assert rows[0].ml_low == pytest.approx(rows[0].ml_high, abs=0.05)
    assert rows[1].ml_high == pytest.approx(rows[0].ml + 2 * (rows[0].ml_high - rows[0].ml + 0.5), abs=0.001)
    assert rows[1].ml_low < rows[1].ml - 0.99
