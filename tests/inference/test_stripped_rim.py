"""What is said of lesions at the rim of a brain without its skull."""

from dataclasses import replace

import numpy as np
import pytest
from segment_helpers import Stack

from ctseg.inference.stripped_rim import rim_ml, stripped_rim_remarks

HIGH = 5
"""The last slice with brain; one without lies above it."""


def scan(step_mm):
    """A brain of 60 mm radius on pixels of 1 mm."""
    stack = Stack(np.arange(HIGH + 2) * step_mm, tilt_deg=0.0, size=160, pixel_mm=1.0)
    rows, cols = np.mgrid[:160, :160] - 80
    brain = np.repeat((np.hypot(rows, cols) < 60)[None], HIGH + 2, axis=0)
    brain[HIGH + 1] = False
    return stack.volume(brain), brain


def bleed(*places):
    """Squares of 4 mm, each at a slice and so many mm left of the middle."""
    mask = np.zeros((HIGH + 2, 160, 160), bool)
    for number, out in places:
        mask[number, 78:82, 80 - out : 84 - out] = True
    return mask


@pytest.mark.parametrize(
    ("places", "squares"),
    [
        (((2, 59),), 1),
        (((2, 30),), 0),
        (((2, 59), (3, 57), (3, 54)), 0),  # one lesion that goes deeper
        (((2, 59), (3, 20)), 1),
        (((HIGH, 20),), 1),
        (((0, 20),), 0),  # the scan ends below
        ((), 0),
    ],
)
@pytest.mark.parametrize("step_mm", [2.5, 5.0, 8.0])
def test_only_what_lies_wholly_at_the_rim_counts(places, squares, step_mm):
    volume, brain = scan(step_mm)
    assert rim_ml(bleed(*places), brain, volume) == pytest.approx(squares * 16 * step_mm / 1000)


def test_thin_slices_look_farther_than_to_the_next():
    volume, brain = scan(2.5)
    assert rim_ml(bleed((HIGH - 1, 20), (HIGH - 3, 20)), brain, volume) == pytest.approx(16 * 2.5 / 1000)


def test_it_is_said_with_its_volume():
    volume, brain = scan(5.0)
    assert stripped_rim_remarks(bleed((2, 59)), brain, volume) == [
        "0.08 mL lie at the rim of the stripped brain, where bone may be taken for blood; look at the outline"
    ]
    assert stripped_rim_remarks(bleed((2, 59)), brain, replace(volume, origins_mm=volume.origins_mm / 2)) == []
