"""Each planted fault of a model that ships with a plugin is found by the check that is there for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_files import card_of, ship, weights

from ctseg.conformance import Outcome
from ctseg.files import write_json

Run = Callable[..., Outcome]


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def uncarded(path: Path) -> None:
    path.with_suffix(".json").unlink()


def unfilled(path: Path) -> None:
    write_json(path.with_suffix(".json"), card_of(path, licence="not stated"))


def of_another_kind(path: Path) -> None:
    weights(path, kind="generator")
    write_json(path.with_suffix(".json"), card_of(path))


def of_a_missing_network(path: Path) -> None:
    weights(path, name="swin", package="ctseg-x")
    write_json(path.with_suffix(".json"), card_of(path))


def without_slices(path: Path) -> None:
    weights(path, input={})
    write_json(path.with_suffix(".json"), card_of(path))


@pytest.mark.parametrize("check", ["gives_weights", "has_a_card", "holds_a_segmenter", "segments_slices"])
def test_a_sound_model_passes(find_fault: Run, tmp_path: Path, check: str) -> None:
    path = ship(tmp_path, "planted")
    outcome = find_fault("model", check, lambda: path)
    assert outcome.status == "passed", outcome.detail


@pytest.mark.parametrize(
    ("fault", "check", "detail"),
    [
        (Path.unlink, "gives_weights", "no such file"),
        (damaged, "has_a_card", "that on its card"),
        (uncarded, "has_a_card", "model card planted.json is missing"),
        (unfilled, "has_a_card", "not stated"),
        (of_another_kind, "holds_a_segmenter", "another kind"),
        (of_a_missing_network, "holds_a_segmenter", "pip install ctseg-x"),
        (without_slices, "holds_a_segmenter", "no preprocessing settings"),
    ],
)
def test_faults_are_found(find_fault: Run, tmp_path: Path, fault: Any, check: str, detail: str) -> None:
    path = ship(tmp_path, "planted")
    fault(path)
    outcome = find_fault("model", check, lambda: path)
    assert outcome.status == "failed"
    assert detail in outcome.detail


def test_what_is_no_path_is_found(find_fault: Run, tmp_path: Path) -> None:
    assert "gives a int" in find_fault("model", "gives_weights", lambda: 3).detail
    path = ship(tmp_path, "planted").rename(tmp_path / "planted.bin")
    assert "ends in .safetensors" in find_fault("model", "gives_weights", lambda: path).detail
