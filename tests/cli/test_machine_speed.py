"""The demo's expected seconds follow the machine."""

from __future__ import annotations

import time

import pytest

from ctseg.cli import machine_speed
from ctseg.cli.demo_study import demo_steps
from ctseg.cli.machine_speed import expected, slowness


def test_a_slower_machine_is_told_by_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_speed, "MEASURED_S", 0.05)
    monkeypatch.setattr(machine_speed, "_network", lambda: lambda: time.sleep(0.11))
    monkeypatch.setattr(machine_speed, "_arrays", lambda: time.sleep(0.015))
    found = slowness()
    assert found["network"] == pytest.approx(0.11 / machine_speed.REFERENCE_S["network"], rel=0.5)
    assert found["arrays"] == pytest.approx(0.015 / machine_speed.REFERENCE_S["arrays"], rel=0.5)


def test_steps_are_scaled_by_their_kind_of_work() -> None:
    steps = demo_steps()
    scaled = expected(steps, {"network": 2.0, "arrays": 0.5})
    for before, after in zip(steps, scaled, strict=True):
        factor = 2.0 if "train" in before["command"] else 0.5
        assert after["expect_s"] == max(1, round(before["expect_s"] * factor))
        assert {**after, "expect_s": 0} == {**before, "expect_s": 0}


def test_the_work_is_real_and_the_random_numbers_are_left_alone() -> None:
    import torch

    before = torch.get_rng_state()
    low, high = machine_speed.BOUNDS
    assert all(low <= value <= high for value in slowness().values())
    assert torch.equal(before, torch.get_rng_state())
