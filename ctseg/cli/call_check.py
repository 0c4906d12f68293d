"""The values of a call, checked without its inputs: presets, plugins, settings, device and precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.errors import SettingError

if TYPE_CHECKING:
    from ctseg.plugins.host import Registry

Values = Mapping[str, Any]


def check_values(command: str, values: Values, registry: Registry) -> None:
    """Refuse values that the command would refuse before it reads its inputs.

    Args:
        command: as it is typed; those of plugins are not looked at.
        values: parameter -> value, as the command's function takes them.
        registry: the plugins.

    Raises:
        SettingError, PluginError, InputError: one line, as the command's own.
    """
    from ctseg.training.device_names import check_device_name, check_precision_name

    if command in CHECKS:
        CHECKS[command](values, registry)
    if "device" in values:
        check_device_name(values["device"])
    if "precision" in values:
        check_precision_name(values["precision"])


def _preprocess(values: Values, registry: Registry) -> None:
    from ctseg.cli.preprocess import given_settings, resolve_settings
    from ctseg.settings import parse_overrides

    del registry  # the command asks for it itself
    resolve_settings(given_settings(**values), parse_overrides(values["settings"]), Path(values["output"]))


def _match(values: Values, registry: Registry) -> None:
    from ctseg.settings import parse_overrides

    registry.get("similarity_metric", values["similarity"]).resolve(parse_overrides(values["settings"]))


def _synth_train(values: Values, registry: Registry) -> None:
    _training("synth-train", values, registry, values["generator"])


def _das_train(values: Values, registry: Registry) -> None:
    if values["start"] is not None and values["pretrained"] is not None:
        raise SettingError("--from and --pretrained both give the first weights; leave one out")
    _training("das-train", values, registry, values["segmenter"])


def _training(command: str, values: Values, registry: Registry, plugin: str) -> None:
    from ctseg.cli.command_settings import model_of, preset_values, takes
    from ctseg.cli.training_settings import checked_settings, require_pairs, with_plugin
    from ctseg.settings import parse_overrides

    wanted = takes(command)
    base = with_plugin(preset_values(command, values["preset"]), wanted.key, plugin)
    model: Any = model_of(wanted)
    given = parse_overrides(values["settings"])
    plugin_key = (wanted.kind, wanted.key)
    settings, _, _ = checked_settings(model, base, given, plugin_key, command, registry, Path(values["output"]))
    if "pairs" in values:
        require_pairs(settings, values["pairs"], wanted.kind)


def _finetune(values: Values, registry: Registry) -> None:
    if values["start"] is None:  # else the run that it starts from names the network, and may not be there yet
        _training("finetune", values, registry, values["segmenter"])


def _segment(values: Values, registry: Registry) -> None:
    from ctseg import api
    from ctseg.cli.segment import given_settings
    from ctseg.inference.settings import SegmentSettings
    from ctseg.settings import parse_overrides, resolve

    if not values["model"]:
        api.find_models(None, registry)  # which plugins a model needs is written in it
    resolve(
        SegmentSettings, given_settings(**values), parse_overrides(values["settings"]), where="segment",
        listed_by="ctseg settings segment",
    )  # fmt: skip


def _evaluate(values: Values, registry: Registry) -> None:
    from ctseg.evaluation.settings import EvaluationSettings
    from ctseg.settings import parse_overrides, resolve

    settings = resolve(
        EvaluationSettings, {"seed": values["seed"]}, parse_overrides(values["settings"]), where="evaluate",
        listed_by="ctseg settings evaluate",
    )  # fmt: skip
    for name, own in settings.metric_settings.items():
        registry.get("metric", name).resolve(own)


def _phantom(values: Values, registry: Registry) -> None:
    from ctseg.cli.phantom import given_settings
    from ctseg.phantom.settings import PhantomSettings
    from ctseg.settings import parse_overrides, resolve

    del registry  # it takes no plugin
    resolve(
        PhantomSettings, given_settings(**values), parse_overrides(values["settings"]), where="phantom",
        listed_by="ctseg settings phantom",
    )  # fmt: skip


CHECKS: dict[str, Callable[[Values, Registry], None]] = {
    "preprocess": _preprocess, "match": _match, "synth-train": _synth_train, "das-train": _das_train,
    "finetune": _finetune, "segment": _segment, "evaluate": _evaluate, "phantom": _phantom,
}  # fmt: skip
