"""Which settings `--set` of a command reaches: for `ctseg settings`, for completion and for a study's check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ctseg.errors import SettingError, unknown_name

if TYPE_CHECKING:
    from ctseg.plugins.host import Registry
    from ctseg.settings import Settings


@dataclass(frozen=True)
class Takes:
    """What a command's `--set` takes."""

    model: str = ""
    """`module:class` of its own settings; empty where it has none beside its plugin's."""
    kind: str = ""
    """Kind of the plugin whose settings it takes, too."""
    default: str = ""
    """The plugin that is used when none is named."""
    key: str = ""
    """The setting that names the plugin; its own settings are `KEY_settings.NAME`, without a key plain `NAME`."""
    presets: str = ""
    """The table of `ctseg.training.presets`; empty where there are none."""
    flag: str = ""
    """The flag that names the plugin."""


COMMANDS = {
    "preprocess": Takes(
        "ctseg.preprocess.settings:PreprocessSettings", "brain_extractor", "muschelli", "brain_extractor",
        flag="--brain",
    ),
    "match": Takes(kind="similarity_metric", default="amd", flag="--similarity"),
    "synth-train": Takes(
        "ctseg.training.settings:SynthesisSettings", "generator", "amd", "generator", "SYNTHESIS", "--generator"
    ),
    "das-train": Takes(
        "ctseg.training.settings:AdaptationSettings", "segmenter", "fcn", "segmenter", "ADAPTATION", "--segmenter"
    ),
    "finetune": Takes(
        "ctseg.training.settings:FinetuneSettings", "segmenter", "fcn", "segmenter", "ADAPTATION", "--segmenter"
    ),
    "segment": Takes("ctseg.inference.settings:SegmentSettings"),
    "evaluate": Takes("ctseg.evaluation.settings:EvaluationSettings", "metric"),
    "phantom": Takes("ctseg.phantom.settings:PhantomSettings"),
}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Settings of one owner."""

    whose: str
    """`das-train`, or `segmenter fcn of ctseg 1.0`."""
    prefix: str
    """Before each name in `--set`: empty, or `segmenter_settings.`."""
    model: type[Settings]
    values: Mapping[str, Any] = field(default_factory=dict)
    """What a preset sets."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where the preset has it from."""
    package: str = "ctseg"
    """Whose defaults they are."""


def takes(command: str) -> Takes:
    """What a command's `--set` takes.

    Raises:
        SettingError: if it has no `--set`.
    """
    if command not in COMMANDS:
        raise SettingError(unknown_name("command with settings", command, sorted(COMMANDS)))
    return COMMANDS[command]


def groups_of(command: str, registry: Registry, preset: str = "", plugin: str = "") -> list[Group]:
    """Every setting that a command takes, by owner.

    Args:
        command: as it is typed.
        registry: the plugins.
        preset: fills in values; empty for the default one, where the command has presets.
        plugin: used instead of the command's (or the preset's) own, for the settings of that one.

    Raises:
        SettingError, PluginError: naming what is unknown.
    """
    wanted = takes(command)
    values = preset_values(command, preset)
    if plugin and not wanted.kind:
        raise SettingError(f"{command} takes no plugin; leave --plugin out")
    groups = []
    if wanted.model:
        model = model_of(wanted)
        own = {name: value for name, value in values.items() if name in model.model_fields}
        if plugin and wanted.key:
            own |= {wanted.key: plugin, f"{wanted.key}_settings": {}}
        groups.append(Group(command, "", model, own, getattr(values, "sources", {})))
    if wanted.kind == "metric":
        return groups + _metric_groups(registry, plugin)
    return groups + (_plugin_group(wanted, registry, groups, plugin) if wanted.kind else [])


def preset_values(command: str, preset: str = "") -> Mapping[str, Any]:
    """The values of a preset; none for a command without presets.

    Raises:
        SettingError: if there is no such preset, or the command has none.
    """
    wanted = takes(command)
    if not wanted.presets:
        if preset:
            with_presets = ", ".join(name for name, other in COMMANDS.items() if other.presets)
            raise SettingError(f"--preset {preset}: {command} has no presets; {with_presets} have")
        return {}
    from ctseg.training import presets

    return presets.preset(getattr(presets, wanted.presets), preset or presets.DEFAULT)


def model_of(wanted: Takes) -> type[Settings]:
    """The class of a command's own settings."""
    module, _, name = wanted.model.partition(":")
    model: type[Settings] = getattr(import_module(module), name)
    return model


def _plugin_group(wanted: Takes, registry: Registry, groups: list[Group], plugin: str) -> list[Group]:
    """The settings of the plugin that the command uses."""
    own = groups[0] if groups else None
    named = plugin or (own.values.get(wanted.key) if own and wanted.key else None) or wanted.default
    entry = registry.get(wanted.kind, named)
    key = f"{wanted.key}_settings"
    values = own.values.get(key, {}) if own and wanted.key else {}
    source = own.sources.get(key, "") if own else ""
    whose = f"{wanted.kind.replace('_', ' ')} {entry.name} of {entry.package} {entry.version}"
    prefix = f"{key}." if wanted.key else ""
    return [Group(whose, prefix, entry.settings_model(), values, dict.fromkeys(values, source), entry.package)]


def _metric_groups(registry: Registry, plugin: str) -> list[Group]:
    """The settings of every metric that has some, or of the named one."""
    names = [plugin] if plugin else registry.names("metric")
    entries = [registry.get("metric", name) for name in names]
    return [
        Group(
            f"metric {entry.name} of {entry.package} {entry.version}",
            f"metric_settings.{entry.name}.",
            entry.settings_model(),
            package=entry.package,
        )
        for entry in entries
        if entry.settings_model().model_fields
    ]
