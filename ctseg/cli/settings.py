"""`ctseg settings`: what `--set` of a command takes, with default, bounds, unit, meaning and source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common, completion

if TYPE_CHECKING:
    from ctseg.cli.command_settings import Group

WIDEST = 120
"""Columns of text that are still easy to read."""


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("settings")(settings)


def settings(
    command: Annotated[
        str,
        typer.Argument(
            help="The command, as das-train; without one, all that have settings.",
            autocompletion=completion.commands_with_settings,
        ),
    ] = "",
    preset: Annotated[
        str, typer.Option("--preset", help="Show the values of this preset.", autocompletion=completion.presets)
    ] = "",
    plugin: Annotated[
        str,
        typer.Option(
            "--plugin",
            help="Show the settings of this generator, segmenter, metric or extractor.",
            autocompletion=completion.plugins_of_command,
        ),
    ] = "",
    as_json: common.AsJson = False,
) -> None:
    """Show what --set of a command takes: value, default, bounds, unit, meaning and source of every setting."""
    from ctseg.cli.command_settings import COMMANDS, groups_of

    if not command:
        _list_commands(as_json)
        return
    groups = groups_of(command, common.registry(), preset, plugin)
    if as_json:
        rows = [row for group in groups for row in setting_rows(group)]
        shown = preset or ("default" if COMMANDS[command].presets else "")
        typer.echo(json.dumps({"command": command, "preset": shown, "settings": rows}))
        return
    for group in groups:
        common.show(f"{group.whose}: --set {group.prefix}NAME=VALUE")
        _print_rows(setting_rows(group))
    if COMMANDS[command].presets and not preset:
        from ctseg.training.presets import ADAPTATION

        common.say(f"values of preset default; --preset {'|'.join(sorted(ADAPTATION))} shows another's")


def _list_commands(as_json: bool) -> None:
    """The commands that have settings, and how many."""
    from ctseg.cli.command_settings import COMMANDS, groups_of

    counts = {
        name: sum(len(group.model.model_fields) for group in groups_of(name, common.registry())) for name in COMMANDS
    }
    if as_json:
        typer.echo(json.dumps({"commands": counts}))
        return
    for name, count in counts.items():
        common.show(f"ctseg settings {name:<12} {count} settings")


def setting_rows(group: Group) -> list[dict[str, Any]]:
    """Each setting of a group as `--json` has it."""
    from ctseg.settings import describe

    idle = _without_effect(group)
    rows = []
    for item in describe(group.model):
        is_set = item.name in group.values
        default = "no default: it has to be given" if item.required else f"default of {group.package}"
        source = group.sources.get(item.name, "") if is_set else default
        rows.append(
            {
                "name": group.prefix + item.name, "value": _plain(group.values.get(item.name, item.default)),
                "default": item.default, "type": item.type, "bounds": item.bounds, "unit": item.unit,
                "meaning": item.meaning, "source": source, "without_effect": idle.get(item.name, ""),
                "of": group.whose,
            }
        )  # fmt: skip
    return rows


def _plain(value: Any) -> Any:
    """As JSON has it: a tuple is a list."""
    return list(value) if isinstance(value, tuple) else value


def _without_effect(group: Group) -> Mapping[str, str]:
    """Setting -> the one under which it changes nothing, by the values that are shown."""
    from ctseg.training.settings import TrainingSettings

    if not issubclass(group.model, TrainingSettings):
        return {}
    return group.model(**group.values).without_effect()


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Two lines a setting on stdout: name, value and what it may be; then what it means and where the value is from."""
    from shutil import get_terminal_size
    from textwrap import fill

    width = min(get_terminal_size().columns, WIDEST)
    longest = max((len(name) for row in rows for name in [_name(row)]), default=0)
    for row in rows:
        common.show(f"  {_name(row):<{longest}}  {_value(row)}  ({kind_of(row)})")
        text = f"{row['meaning'] or '(no description)'} [{_origin(row)}]"
        common.show(fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6, break_long_words=False))
    if not rows:
        common.show("  no settings")


def kind_of(row: Mapping[str, Any]) -> str:
    """What a setting may be: its type, bounds and unit."""
    return ", ".join(part for part in (row["type"], row["bounds"], row["unit"]) if part)


def _name(row: Mapping[str, Any]) -> str:
    """The last part of a name: what comes before it is in the heading."""
    return str(row["name"]).rpartition(".")[2]


def _value(row: Mapping[str, Any]) -> str:
    from ctseg.settings import value_text

    return value_text(row["value"])


def _origin(row: Mapping[str, Any]) -> str:
    """Where the value comes from, the default where it is another, and what makes it idle."""
    from ctseg.settings import value_text

    parts = [row["source"] or "source not given"]
    if row["value"] != row["default"]:
        parts.append(f"default {value_text(row['default'])}")
    if row["without_effect"]:
        parts.append(f"no effect with {row['without_effect']}")
    return "; ".join(parts)
