"""`ctseg config`: the options that variables and the user's file set, and where each comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ctseg.cli import common, completion

NO_HOME = "none: this account has no home folder; CTSEG_CONFIG may name a file"


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("config")(config)


def config(
    ctx: typer.Context,
    command: Annotated[
        str,
        typer.Argument(
            help="Show every option of this command; default: all that are set.", autocompletion=completion.commands
        ),
    ] = "",
    as_json: common.AsJson = False,
) -> None:
    """Show the options that CTSEG_ variables and the user's TOML file set, and the value of every option of a command.

    CTSEG_WORKERS=8 sets --workers of every command, CTSEG_DAS_TRAIN_PRESET=plus sets --preset of das-train alone.

    In config.toml the same is workers = 8 at the top, and preset = "plus" in a table named das-train.

    Flags that are typed win, then variables, then the file.
    """
    from ctseg.cli.defaults import config_path, is_there, read_defaults
    from ctseg.errors import InputError, unknown_name

    root: Any = ctx.find_root().command
    if command and command not in root.commands:
        raise InputError(unknown_name("command", command, sorted(root.commands)))
    defaults, unknown = read_defaults(root, whole=True)
    path = config_path()
    rows = _rows_of(root, command, defaults) if command else [_row(item) for item in defaults]
    if as_json:
        found = {"file": path and str(path), "exists": is_there(path), "options": rows, "unknown": unknown}
        typer.echo(json.dumps(found, default=str))
        return
    _print(
        f"{path or NO_HOME}{'' if path is None or is_there(path) else ' (not there; nothing has to be)'}", rows, unknown
    )


def _print(file: str, rows: Sequence[Mapping[str, Any]], unknown: Sequence[str]) -> None:
    from ctseg.harmless import one_line

    common.show(f"file: {file}")
    for row in rows:
        common.show(f"  {row['command']:<12} {row['option']:<18} {one_line(str(row['value'])):<16} {row['source']}")
    if not rows:
        common.show("  no option is set outside the command line")
    for line in unknown:
        common.show(f"  unknown: {line}")


def _row(item: Any) -> dict[str, Any]:
    return {"command": item.command, "option": item.flag, "value": item.value, "source": item.source}


def _rows_of(root: Any, command: str, defaults: Any) -> list[dict[str, Any]]:
    """Every option of a command that may be set, with its value."""
    from ctseg.cli.defaults import settable

    known = {item.option: item for item in defaults if item.command == command}
    rows = []
    for parameter in settable(root.commands[command]):
        found = known.get(parameter.name)
        own = {
            "command": command,
            "option": parameter.opts[0],
            "value": parameter.default,
            "source": "default of ctseg",
        }
        rows.append(_row(found) if found else own)
    return rows
