"""CPU seconds of a case's pictures on a scan of 512 x 512 x 30 voxels: the six slices, and the solid beside them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))

from segment_helpers import BLOOD, Head, Stack

from ctseg.inference.preview import write_preview, write_solid

pytestmark = pytest.mark.slow


def test_the_solid_costs_less_than_the_slices(tmp_path, capsys):
    stack = Stack(np.arange(30) * 5.0, tilt_deg=18.0, size=512, pixel_mm=0.4)
    hu = Head(brain_mm=(65.0, 85.0, 65.0)).hu(stack.points())
    measures = SimpleNamespace(lesions=1, ml=77.0)
    prediction = SimpleNamespace(
        volume=stack.volume(hu),
        mask=hu > BLOOD - 15,
        brain=hu > -100,
        measures=measures,
        recovery=None,
        other_blood=None,
    )
    seconds = {}
    for name, draw in {"slices": write_preview, "solid": write_solid}.items():
        draw(tmp_path / "warm.png", prediction)
        started = time.process_time()
        for _ in range(5):
            draw(tmp_path / f"{name}.png", prediction)
        seconds[name] = (time.process_time() - started) / 5
    with capsys.disabled():
        print(f"\nCPU s a scan: slices {seconds['slices']:.3f}, solid {seconds['solid']:.3f}")  # noqa: T201
    assert seconds["solid"] < seconds["slices"] + 0.2
