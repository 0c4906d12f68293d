"""The settings of a training from a preset, `--set` and a plugin, checked before any input is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ctseg.cli.run_plugin import explain_missing
from ctseg.errors import SettingError

if TYPE_CHECKING:
    from ctseg.matching.pairs import Direction
    from ctseg.plugins.host import Entry, Registry
    from ctseg.training.settings import TrainingSettings

T = TypeVar("T", bound="TrainingSettings")


def with_plugin(preset: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """A preset with another plugin, which starts from its own defaults; naming the preset's own changes nothing.

    How the preset normalises source images belongs to its own network's normalisation, and goes with it.
    """
    if not name or name == preset.get(key):
        return dict(preset)
    kept = {setting: value for setting, value in preset.items() if setting not in ("source_mean", "source_std")}
    return {**kept, key: name, f"{key}_settings": {}}


def checked_settings(
    model: type[T],
    base: Mapping[str, Any],
    given: Mapping[str, Any],
    plugin: tuple[str, str],
    where: str,
    registry: Registry,
    run: Path | None = None,
) -> tuple[T, Entry, dict[str, Any]]:
    """The settings of a training with its network's own filled in, the network's plugin, and the network's own.

    Args:
        model: the training's settings.
        base: the preset's values.
        given: what `--set` changes.
        plugin: the plugin's kind and the setting that names it.
        where: the command, for messages.
        registry: the plugins.
        run: where the training is written: an earlier one there may know of which package a plugin was that is gone.

    Raises:
        SettingError, PluginError: one line for whatever is unknown, out of bounds or without effect.
    """
    from ctseg.training.resolve import resolve_training

    kind, key = plugin
    explain_missing(registry, kind, str({**base, **given}.get(key)), run)
    refuse_misplaced(model, base, given, plugin, where, registry)
    settings = resolve_training(model, base, given, where=where)
    entry = registry.get(kind, getattr(settings, key))
    values = entry.resolve(getattr(settings, f"{key}_settings"))
    return settings.model_copy(update={f"{key}_settings": values}), entry, values


def refuse_misplaced(
    model: type[TrainingSettings],
    base: Mapping[str, Any],
    given: Mapping[str, Any],
    plugin: tuple[str, str],
    where: str,
    registry: Registry,
) -> None:
    """Say how a network's own setting is written, where it was given as one of the training's.

    Raises:
        SettingError: naming it, if `given` has a setting that the training lacks and the network knows.
    """
    kind, key = plugin
    strange = [name for name in given if name not in model.model_fields]
    name = {**base, **given}.get(key)
    if not strange or not isinstance(name, str):
        return
    known = registry.get(kind, name).settings_model().model_fields
    wrong = next((setting for setting in strange if setting in known), None)
    if wrong:
        raise SettingError(
            f"{where}: {wrong} is a setting of {kind} {name}; write --set {key}_settings.{wrong}={given[wrong]}"
        )


def require_pairs(settings: Any, path: Path | None, kind: str) -> None:
    """A training on matched slices has pairs.

    Raises:
        SettingError: saying how to make them, if it has none.
    """
    if settings.matched and path is None:
        raise SettingError(
            f"no --pairs given; make them with `ctseg match --direction {direction_of(kind)}`, or add "
            "--set matched=false"
        )


def direction_of(kind: str) -> Direction:
    """The direction of the pairs that the training of a generator or a segmenter needs."""
    return "target" if kind == "segmenter" else "source"
