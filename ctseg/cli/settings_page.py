"""The page `docs/settings.md`, made from the same rows as `ctseg settings`: `python -m ctseg.cli.settings_page`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ctseg.cli.command_settings import COMMANDS, Group, groups_of
from ctseg.cli.flags_page import PAGES
from ctseg.cli.settings import kind_of, setting_rows
from ctseg.harmless import markdown_row
from ctseg.plugins.host import Registry, load
from ctseg.settings import value_text

INTRODUCTION = """\
# Settings

Every value that `--set NAME=VALUE` changes, as `ctseg settings COMMAND` says it. Commands with presets show the values
of the preset `default`, and beneath it where the other presets differ. Brackets say where a value comes from,
unless it is ctseg's own. `ctseg settings COMMAND --plugin NAME` shows the settings of another generator, segmenter,
similarity metric, metric or brain extractor.

`python -m ctseg.cli.settings_page > docs/settings.md` makes this page, and a test compares it with the commands.
"""
OWN = "default of ctseg"


def settings_page() -> str:
    """The page in Markdown: the settings of every command, without those of other packages."""
    registry = load(outside=False)
    lines = [INTRODUCTION]
    for command, takes in COMMANDS.items():
        lines += [f"## ctseg {command}", "", f"[More about {command}]({PAGES[command]})."]
        for group in groups_of(command, registry):
            lines += ["", *_table(group, heads=group.whose != command)]
        if takes.presets:
            lines += ["", *_presets(command, registry)]
        lines.append("")
    return "\n".join(lines)


def _table(group: Group, *, heads: bool) -> Iterator[str]:
    """A row for each setting of a group; a plugin's begin with whose they are."""
    rows = setting_rows(group)
    if heads:
        yield f"Settings of the {_unversioned(group.whose)}{':' if rows else ': none.'}"
        yield ""
    if not rows:
        return
    yield markdown_row(("setting", "value", "may be", "what it does"))
    yield "|---|---|---|---|"
    for row in rows:
        source = "" if row["source"] in ("", OWN) else f" [{row['source']}]"
        yield markdown_row((f"`{row['name']}`", _shown(row["value"]), kind_of(row), f"{row['meaning']}{source}"))


def _presets(command: str, registry: Registry) -> Iterator[str]:
    """A row for each setting that not all presets have alike."""
    from ctseg.training.presets import ADAPTATION, DEFAULT

    names = [DEFAULT, *sorted(set(ADAPTATION) - {DEFAULT})]
    columns = [_values(command, registry, name) for name in names]
    yield f"Where the presets of `{command}` differ:"
    yield ""
    yield markdown_row(("setting", *names))
    yield "|---" * (len(names) + 1) + "|"
    for setting in dict.fromkeys(key for column in columns for key in column):
        values = [_shown(column[setting]) if setting in column else "" for column in columns]
        if len(set(values)) > 1:
            yield markdown_row((f"`{setting}`", *values))


def _values(command: str, registry: Registry, preset: str) -> Mapping[str, Any]:
    """Setting -> value under a preset; a network's own settings are one value, as each network has others."""
    own = groups_of(command, registry, preset)[0]
    return {row["name"]: _number(row) for row in setting_rows(own)}


def _number(row: Mapping[str, Any]) -> Any:
    """The value of a row; a preset may write 0 where another has 0.0."""
    return float(row["value"]) if isinstance(row["value"], int) and row["type"] == "number" else row["value"]


def _shown(value: Any) -> str:
    return "" if value is None else f"`{value_text(value)}`"


def _unversioned(whose: str) -> str:
    """`segmenter fcn of ctseg 1.0` without the version, which changes with each release."""
    return whose.rpartition(" ")[0] if " of " in whose else whose


if __name__ == "__main__":
    sys.stdout.write(settings_page())
