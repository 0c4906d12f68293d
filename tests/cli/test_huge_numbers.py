"""Numbers that nothing can count with are refused by name: a digit too many had been a traceback, or as many processes.

`--workers 4294967296` ended in an OverflowError once the scans were found, `--seed` of 23 digits in torch's, and
`--devices 99999999` made a list of processes until the memory was full.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError
from toy_sets import toy

from ctseg.cli import common
from ctseg.cli.command_settings import COMMANDS, groups_of
from ctseg.cli.main import build_app, main
from ctseg.plugins.host import load

BOUNDED = ("--workers", "--seed", "--jobs", "--seeds", "--mr", "--ct", "--ct-test")
HUGE = str(10**23)


def bounded_options() -> Iterator[tuple[str, str, list[str]]]:
    """Command, option, and words for the arguments that it has to have."""
    root: Any = typer.main.get_command(build_app([]))
    for name, command in root.commands.items():
        for option in (option for known in command.params for option in known.opts if option in BOUNDED):
            needed = [known for known in command.params if known.required]
            words = [word for known in needed for word in ([known.opts[0]] if known.opts[0][0] == "-" else []) + ["x"]]
            yield name, option, words


@pytest.mark.parametrize(("command", "option", "words"), list(bounded_options()))
def test_a_number_of_23_digits_is_refused_by_its_flag(
    command: str, option: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main([command, *words, option, HUGE]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{option}" in line
    assert "less than or equal to" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("devices", [HUGE, "5000"])
def test_more_processes_than_cores_are_not_started(
    devices: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "STATE", common.State())
    monkeypatch.chdir(tmp_path)
    toy(tmp_path / "mr", "mr", 0)
    toy(tmp_path / "ct", "ct", 1)
    argv = ["das-train", "--src", "mr", "--tgt", "ct", "--preset", "smoke", "--device", "cpu", "-o", "run"]
    assert main([*argv, "--devices", devices]) == 2
    assert f"--devices {devices}: one process each, and this machine has" in capsys.readouterr().err
    assert not Path("run").exists()


def test_every_number_of_the_settings_is_finite_and_can_be_counted_with() -> None:
    models = {group.model for name in COMMANDS for group in groups_of(name, load(found=[]))}
    assert len(models) > 6
    odd = (math.inf, -math.inf, math.nan, 10**23)
    taken = [
        (model.__name__, name, value)
        for model in models
        for name, field in model.model_fields.items()
        for value in odd
        if _takes(model, name, value) and not (value == 10**23 and "float" in str(field.annotation))
    ]
    assert taken == []


def _takes(model: Any, name: str, value: float) -> bool:
    try:
        model.model_validate({name: value})
    except ValidationError:
        return False
    return True
