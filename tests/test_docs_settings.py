"""The page of settings is made from the settings themselves, and names each of them with the values of all presets."""

from __future__ import annotations

import pytest
from test_docs_words import ROOT

from ctseg.cli.command_settings import COMMANDS, groups_of, preset_values
from ctseg.cli.settings_page import settings_page
from ctseg.plugins.host import load
from ctseg.training.presets import ADAPTATION, DEFAULT, SYNTHESIS

PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def section(command: str) -> str:
    return PAGE.partition(f"## ctseg {command}\n")[2].partition("\n## ")[0]


def test_the_page_is_that_of_the_settings() -> None:
    assert settings_page() == PAGE, "python -m ctseg.cli.settings_page > docs/settings.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_is_named_once_with_its_meaning(command: str) -> None:
    for group in groups_of(command, load(outside=False)):
        for name, field in group.model.model_fields.items():
            rows = [line for line in section(command).splitlines() if line.startswith(f"| `{group.prefix}{name}` |")]
            assert rows, name
            assert str(field.description).split("|")[0] in rows[0]


@pytest.mark.parametrize("command", ["synth-train", "das-train"])
def test_a_value_that_a_preset_changes_is_in_its_column(command: str) -> None:
    presets = SYNTHESIS if command == "synth-train" else ADAPTATION
    table = section(command).partition("presets of")[2]
    head = [cell.strip() for cell in table.splitlines()[2].split("|")[1:-1]]
    assert head == ["setting", DEFAULT, *sorted(set(presets) - {DEFAULT})]
    for preset in presets:
        row = next(line for line in table.splitlines() if line.startswith("| `epochs` |"))
        value = row.split("|")[1:-1][head.index(preset)].strip()
        assert value == f"`{preset_values(command, preset)['epochs']}`"
