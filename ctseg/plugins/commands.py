"""Subcommands that plugins add, each plugin's by itself."""

from __future__ import annotations

from typing import Any

from ctseg.plugins.contained import StoppedError, contained, one_line
from ctseg.plugins.host import Broken, Registry


def register_commands(registry: Registry, app: Any) -> None:
    """Let plugins add subcommands; one that fails, or takes the name of a command that is there, adds none."""
    manager = registry.manager
    plugins = [] if manager is None else manager.get_plugins()
    for plugin in sorted(plugins, key=lambda item: str(getattr(item, "__name__", item))):
        if manager is None or not callable(getattr(plugin, "ctseg_register_commands", None)):
            continue
        commands, groups = list(app.registered_commands), list(app.registered_groups)
        hook = manager.subset_hook_caller("ctseg_register_commands", [item for item in plugins if item is not plugin])
        package = str(manager.get_name(plugin)).partition(":")[0]
        try:
            with contained(package, ""):
                hook(app=app)
            fault = _taken(app, len(commands), len(groups))
        except StoppedError as stop:
            fault = str(stop)
        except (Exception, SystemExit) as error:
            fault = one_line(error)
        if fault:
            app.registered_commands, app.registered_groups = commands, groups
            registry.broken.append(Broken(package, "", f"its commands are left out: {fault}"))


def _taken(app: Any, commands: int, groups: int) -> str:
    """What is wrong with the commands behind so many first ones; empty where each has a name of its own."""
    names = [_command_name(item) for item in (*app.registered_commands[:commands], *app.registered_groups[:groups])]
    added = [_command_name(item) for item in (*app.registered_commands[commands:], *app.registered_groups[groups:])]
    twice = sorted({name for name in added if name in names or added.count(name) > 1})
    return f"there is a command {twice[0]!r} already" if twice else ""


def _command_name(item: Any) -> str:
    """The name of a command or group of typer's, which may be that of its function."""
    name = getattr(item, "name", None)
    made = getattr(getattr(item, "callback", None), "__name__", "")
    return name if isinstance(name, str) and name else made.replace("_", "-")
