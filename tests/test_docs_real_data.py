"""Every command of docs/real-data.md has options that exist and settings that its stage knows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from ctseg.cli.main import build_app
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.settings import parse_overrides, resolve
from ctseg.training.settings import SynthesisSettings

PAGE = (Path(__file__).parents[1] / "docs/real-data.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^ctseg .+$|(?<=`)ctseg [a-z-]+ [^`]+(?=`)", PAGE, re.MULTILINE)))


def test_the_page_has_all_steps():
    named = {line.split()[1] for line in COMMANDS}
    assert named == {"preprocess", "match", "synth-train", "synthesize", "das-train", "segment", "evaluate"}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_parses(line):
    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(build_app([name])).commands[name]
    context = command.make_context(name, words)
    overrides = parse_overrides(context.params.get("settings", ()))
    if name == "evaluate":
        resolve(EvaluationSettings, {}, overrides)


def test_settings_named_in_the_text_exist():
    found = re.findall(r"--set (steps_per_epoch=\d+|epochs=\d+|decay_epochs=\d+)", PAGE)
    assert len(found) == 3
    resolve(SynthesisSettings, {}, parse_overrides(found))
