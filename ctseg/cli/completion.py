"""Values that a shell completes: presets, plugins, devices, settings, commands; nothing heavy is imported.

Each function is an option's `autocompletion`; typer leaves out what does not begin as what is typed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

Items = list[tuple[str, str]]
"""(value, help)."""
PLUGIN_FLAGS = ("similarity", "generator", "segmenter", "brain")
"""Parameters that name the plugin whose settings a command takes."""
SLICE_LABELS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
"""Columns of RSNA's labels."""


def one_of(values: Sequence[str]) -> Callable[[str], Items]:
    """Completes fixed values."""

    def complete(incomplete: str) -> Items:
        return [(value, "") for value in values if value.startswith(incomplete)]

    return complete


devices = one_of(("auto", "cpu", "cuda", "cuda:0", "cuda:1", "mps"))
precisions = one_of(("auto", "32", "bf16"))
slice_labels = one_of(SLICE_LABELS)
splits = one_of(("train", "val", "test", "all"))


def presets(incomplete: str) -> Items:
    """The presets of the trainings."""
    from ctseg.training.presets import ADAPTATION

    return [(name, "") for name in ADAPTATION if name.startswith(incomplete)]


def plugins_of(kind: str) -> Callable[[str], Items]:
    """Completes the registered names of a kind, or of every kind."""

    def complete(incomplete: str) -> Items:
        return [item for item in plugin_names(kind) if item[0].startswith(incomplete)]

    return complete


def plugin_names(kind: str = "") -> Items:
    """Registered names, with what each is."""
    from ctseg.cli import common

    return sorted(
        (entry.name, entry.summary)
        for entry in common.registry().entries.values()
        if (not kind or entry.kind == kind) and not entry.clash
    )


def model_names(incomplete: str) -> Items:
    """Models by name; paths of runs are the shell's."""
    from ctseg.cli import common
    from ctseg.models import known_models

    known = known_models(common.registry().of_kind("model")).sources
    return [(name, source.owner) for name, source in sorted(known.items()) if name.startswith(incomplete)]


def commands_with_settings(incomplete: str) -> Items:
    """What `ctseg settings` takes."""
    from ctseg.cli.command_settings import COMMANDS

    return [(name, "") for name in COMMANDS if name.startswith(incomplete)]


def commands(ctx: typer.Context, incomplete: str) -> Items:
    """Every command that is not hidden."""
    found: dict[str, Any] = getattr(ctx.find_root().command, "commands", {})
    return [(name, "") for name, command in found.items() if name.startswith(incomplete) and not command.hidden]


def plugin_kinds(incomplete: str) -> Items:
    """What `ctseg plugins new --kind` takes."""
    from ctseg.conformance.scaffold import KINDS

    return [(name, "") for name in (*KINDS, "all") if name.startswith(incomplete)]


def plugins_of_command(ctx: typer.Context, incomplete: str) -> Items:
    """The plugins of the command that `ctseg settings` is asked about."""
    from ctseg.cli.command_settings import COMMANDS

    command = str(ctx.params.get("command") or "")
    kind = COMMANDS[command].kind if command in COMMANDS else ""
    return [item for item in plugin_names(kind) if item[0].startswith(incomplete)]


def settings(ctx: typer.Context, incomplete: str) -> Items:
    """`NAME=` of every setting that the command takes, under the preset and plugin that are typed already."""
    from ctseg.cli import common
    from ctseg.cli.command_settings import COMMANDS, groups_of
    from ctseg.errors import CtsegError
    from ctseg.settings import describe

    command, values = str(ctx.info_name), ctx.params
    if command not in COMMANDS:
        return []
    plugin = next((str(values[name]) for name in PLUGIN_FLAGS if values.get(name)), "")
    try:
        groups = groups_of(command, common.registry(), str(values.get("preset") or ""), plugin)
    except CtsegError:  # what is typed before is wrong; the command will say so
        groups = groups_of(command, common.registry())
    names = [(f"{group.prefix}{item.name}=", item.meaning) for group in groups for item in describe(group.model)]
    return [item for item in names if item[0].startswith(incomplete)]
