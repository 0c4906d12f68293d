"""What is said of lesions in the lowest slices of the brain alone."""

import numpy as np
import pytest
from segment_helpers import Stack

from ctseg.inference.skull_base import lowest_ml, skull_base_remarks

AREAS_CM2 = (0, 12, 30, 60, 140, 170, 40)
"""Of the brain, slice by slice: medulla, cerebellum, hemispheres, vertex."""


@pytest.fixture
def head():
    """Slices of 5 mm with pixels of 2 mm, and the brain of each from the first pixel on."""
    stack = Stack(np.arange(len(AREAS_CM2)) * 5.0, tilt_deg=0.0, size=96, pixel_mm=2.0)
    brain = np.zeros((len(AREAS_CM2), 96 * 96), bool)
    for number, area in enumerate(AREAS_CM2):
        brain[number, : area * 25] = True
    brain = brain.reshape(-1, 96, 96)
    return stack.volume(brain), brain


def bleed(*slices):
    mask = np.zeros((len(AREAS_CM2), 96, 96), bool)
    mask[list(slices), :2, :5] = True  # 0.2 mL a slice
    return mask


@pytest.mark.parametrize(
    ("slices", "ml"), [((1,), 0.2), ((1, 2), 0.4), ((2, 3), 0), ((4,), 0), ((6,), 0), ((1, 4), 0.2), ((), 0)]
)
def test_only_what_lies_wholly_in_the_lowest_slices_counts(head, slices, ml):
    volume, brain = head
    assert lowest_ml(bleed(*slices), brain, volume) == pytest.approx(ml)


def test_a_scan_that_begins_in_a_whole_brain_has_no_lowest_slices(head):
    volume, brain = head
    mask = bleed(6)
    assert lowest_ml(mask, brain & (np.arange(7) >= 4)[:, None, None], volume) == 0
    assert lowest_ml(mask, brain & (np.arange(7) == 6)[:, None, None], volume) == 0


def test_the_remark_names_the_volume_and_passes_over_specks(head):
    volume, brain = head
    assert skull_base_remarks(bleed(1), brain, volume) == [
        "0.20 mL lie at the foramen magnum alone, where bone may be taken for blood; look at the outline"
    ]
    speck = np.zeros_like(brain)
    speck[1, 0, 0] = True
    assert skull_base_remarks(speck, brain, volume) == []
