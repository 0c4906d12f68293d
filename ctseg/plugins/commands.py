"""Subcommands that plugins add, each plugin's by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctseg.plugins.contained import StoppedError, contained, one_line
from ctseg.plugins.host import Broken, Registry


def register_commands(registry: Registry, app: Any) -> None:
    """Let plugins add subcommands; one that fails, or takes the name of a command that is there, adds none."""
    manager = registry.manager
    plugins = [] if manager is None else manager.get_plugins()
    owners = dict.fromkeys(_names(app), "ctseg")
    for plugin in sorted(plugins, key=lambda item: str(getattr(item, "__name__", item))):
        if manager is None or not callable(getattr(plugin, "ctseg_register_commands", None)):
            continue
        commands, groups = list(app.registered_commands), list(app.registered_groups)
        hook = manager.subset_hook_caller("ctseg_register_commands", [item for item in plugins if item is not plugin])
        package = str(manager.get_name(plugin)).partition(":")[0]
        try:
            with contained(package, ""):
                hook(app=app)
            fault = _taken(app, len(commands), len(groups), owners)
        except StoppedError as stop:
            fault = str(stop)
        except (Exception, SystemExit) as error:
            fault = one_line(error)
        if not fault:
            owners = {**dict.fromkeys(_names(app), package), **owners}
        else:
            app.registered_commands, app.registered_groups = commands, groups
            registry.broken.append(Broken(package, "", f"its commands are left out: {fault}"))


def _names(app: Any) -> list[str]:
    """The names of all commands and groups."""
    return [_command_name(item) for item in (*app.registered_commands, *app.registered_groups)]


def _taken(app: Any, commands: int, groups: int, owners: Mapping[str, str]) -> str:
    """What is wrong with the commands behind so many first ones; empty where each has a name of its own.

    Args:
        app: the application.
        commands: how many there were.
        groups: how many there were.
        owners: name -> the package that has it.
    """
    names = [_command_name(item) for item in (*app.registered_commands[:commands], *app.registered_groups[:groups])]
    added = [_command_name(item) for item in (*app.registered_commands[commands:], *app.registered_groups[groups:])]
    twice = sorted({name for name in added if name in names or added.count(name) > 1})
    if not twice:
        return ""
    owner = owners.get(twice[0], "")
    whose = f" of {owner}" if owner else ""
    way_out = f"; CTSEG_DISABLE_PLUGINS={owner} takes these in its place" if owner not in ("", "ctseg") else ""
    return f"there is a command {twice[0]!r}{whose} already{way_out}"


def _command_name(item: Any) -> str:
    """The name of a command or group of typer's, which may be that of its function."""
    name = getattr(item, "name", None)
    made = getattr(getattr(item, "callback", None), "__name__", "")
    return name if isinstance(name, str) and name else made.replace("_", "-")
