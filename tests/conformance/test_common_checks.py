"""Faults of registration and settings, each found by its check."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from ctseg.conformance import Outcome, checks
from ctseg.plugins.host import load
from ctseg.settings import Settings

Run = Callable[..., Outcome]
ONE = object()


class Sound(Settings):
    weight: float = Field(1.0, description="how much", ge=0)
    sides: tuple[int, int] = Field((1, 2), description="two sides")
    note: str | None = Field(None, description="may be left out")


class HasNoHelp(Settings):
    weight: float = 1.0


class HoldsASet(Settings):
    names: frozenset[str] = Field(frozenset({"b", "a"}), description="cannot be JSON")


class GoesUpEachTime(Settings):
    weight: float = Field(1.0, description="another value each time it is read")

    def model_post_init(self, _: Any) -> None:
        object.__setattr__(self, "weight", self.weight + 1)


class TakesAnything(Settings):
    model_config = ConfigDict(extra="allow")


class IsNotOurs(BaseModel):
    weight: float = Field(1.0, description="how much")


FAULTS = [
    ({"summary": ""}, "says_what_it_is", "summary=.* must be one line"),
    ({"reference": "a\nb"}, "says_what_it_is", "reference=.* must be one line"),
    ({"settings": HasNoHelp}, "says_what_it_is", "setting weight has no help"),
    ({"settings": HoldsASet}, "settings_round_trip", "frozenset"),
    ({"settings": GoesUpEachTime}, "settings_round_trip", "JSON does not bring back"),
    ({"settings": IsNotOurs}, "settings_round_trip", "IsNotOurs must be a subclass of ctseg.settings.Settings"),
    ({"settings": TakesAnything}, "unknown_setting_is_refused", "accepts the unknown setting"),
    ({"factory": lambda: ONE}, "builds", "the same object twice"),
    ({"factory": object, "settings": Sound}, "builds", "TypeError"),
]


@pytest.mark.parametrize(("given", "check", "message"), FAULTS)
def test_the_fault_is_found(find_fault: Run, given: dict[str, Any], check: str, message: str) -> None:
    outcome = find_fault("similarity_metric", check, **{"factory": lambda **_: object(), **given})
    assert outcome.status == "failed"
    assert re.search(message, outcome.detail), outcome.detail


@pytest.mark.parametrize("check", sorted({check for _, check, _ in FAULTS}))
def test_sound_settings_pass(find_fault: Run, check: str) -> None:
    assert find_fault("similarity_metric", check, lambda **_: object(), settings=Sound).status == "passed"


PLUGIN = """
import ctseg
{top}

@ctseg.hookimpl
def ctseg_register_similarity_metrics(register):
    {inside}
    register("planted", object, settings=settings)


def settings():
    {late}
    from ctseg.settings import Settings

    return Settings
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "line", "status"),
    [
        ("top", "", "passed"),
        ("top", "import skimage", "failed"),
        ("inside", "import skimage", "failed"),
        ("late", "import skimage", "failed"),
    ],
)
def test_heavy_imports(tmp_path: Path, install: Callable[..., None], place: str, line: str, status: str) -> None:
    lines = {"top": "", "inside": "pass", "late": "pass", place: line}
    (tmp_path / "planted_plugin.py").write_text(PLUGIN.format(**lines))
    install(tmp_path, "planted-plugin", "planted_plugin")
    assert load().get("similarity_metric", "planted").package == "planted-plugin"
    outcome = checks("similarity_metric", "planted")[0].run()
    assert (outcome.check, outcome.status) == ("registers_without_heavy_imports", status)
    assert ("skimage" in outcome.detail) == (status == "failed")


def test_a_plugin_that_is_not_installed_cannot_be_looked_at_in_a_fresh_interpreter(find_fault: Run) -> None:
    assert find_fault("similarity_metric", "registers_without_heavy_imports", object).status == "skipped"
