"""The plugin that a run or a model was made with, beside what is installed when it is used again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ctseg.cli import common
from ctseg.errors import CtsegError, InputError, PluginError

if TYPE_CHECKING:
    from ctseg.plugins.host import Registry
    from ctseg.plugins.needed import Needed
    from ctseg.runs import ModelHeader


def check_run_plugin(run: Path) -> None:
    """Refuse to go on with a run whose plugin is gone or of another version; nothing where no run has begun.

    Raises:
        PluginError: saying which package to install.
        InputError: naming both versions.
    """
    from ctseg.plugins.needed import needed_entry

    made = _plugin_of(run)
    if made is None:
        return
    where = run / "config.toml"
    entry = needed_entry(common.registry(), made, f"{where}: this run")
    if entry.version != made.version:
        raise InputError(
            f"{where}: begun with {made.package} {made.version}, {entry.version} is installed; {made.install} to go "
            "on, or start again with --overwrite"
        )


def explain_missing(registry: Registry, kind: str, name: str, run: Path | None) -> None:
    """Say which package a plugin was of, where nothing of its name is installed and a run or slice set here had it.

    Raises:
        PluginError: saying which package to install.
    """
    from ctseg.plugins.needed import needed_entry

    if run is None or (kind, name) in registry.entries:
        return
    made, what = _plugin_of(run), f"{run / 'config.toml'}: this run"
    if kind == "brain_extractor":
        made, what = _extractor_of(run), f"{run}: this slice set"
    if made is not None and (made.kind, made.name) == (kind, name):
        needed_entry(registry, made, what)


def lacks_plugin(model: Path) -> str:
    """Why a model cannot be used as its plugin is gone; empty where it is there, or something else is wrong."""
    from ctseg.runs import read_header

    try:
        header = read_header(model)
    except (CtsegError, OSError):
        return ""
    return header_lacks(header)


def header_lacks(header: ModelHeader) -> str:
    """As `lacks_plugin`, of a header that is read."""
    from ctseg.plugins.host import HOOKS
    from ctseg.plugins.needed import Needed, needed_entry

    if header.kind not in HOOKS:
        return ""
    try:
        needed_entry(common.registry(), Needed.of_header(header))
    except PluginError as error:
        return str(error)
    return ""


def _plugin_of(run: Path) -> Needed | None:
    """What `config.toml` says; None where there is none, or it says nothing of a plugin."""
    from ctseg.files import read_toml
    from ctseg.plugins.needed import Needed

    path = run / "config.toml"
    return Needed.of_table(read_toml(path).get("plugin")) if path.is_file() else None


def _extractor_of(slices: Path) -> Needed | None:
    """The brain extractor of another package that a slice set's `dataset.json` names; None where there is none."""
    from ctseg.files import read_json_beside
    from ctseg.plugins.needed import Needed

    path = slices / "dataset.json"
    data = read_json_beside(path) if path.is_file() else None
    return Needed.of_table(data.get("brain_extractor"), "brain_extractor") if isinstance(data, dict) else None
