"""From a preset and `--set` to the settings of one training, without those that have no effect in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ctseg.errors import SettingError
from ctseg.settings import merge, resolve
from ctseg.training.settings import AdaptationSettings, TrainingSettings

T = TypeVar("T", bound=TrainingSettings)


def resolve_training(model: type[T], preset: Mapping[str, Any], given: Mapping[str, Any], where: str) -> T:
    """The settings of a training: `given`, then the preset, then the defaults.

    Args:
        model: the training's settings.
        preset: values of a preset; what the training does not have, or has no effect in it, is dropped.
        given: values that the user set; what has no effect is refused.
        where: the command, for messages.

    Raises:
        SettingError: in one line.
    """
    _check_known(model, given, where)
    known = {name: value for name, value in preset.items() if name in model.model_fields}
    settings = resolve(model, known, given, where=where, listed_by=f"ctseg settings {where}")
    reasons = settings.without_effect()
    for name in given:
        if name in reasons:
            raise SettingError(f"{where}: --set {name}=... has no effect with {reasons[name]}; leave it out")
    return resolve(
        model,
        {name: value for name, value in known.items() if name not in reasons},
        given,
        where=where,
        listed_by=f"ctseg settings {where}",
    )


def _check_known(model: type[TrainingSettings], given: Mapping[str, Any], where: str) -> None:
    for name in given:
        if name not in model.model_fields and name in AdaptationSettings.model_fields and where == "finetune":
            raise SettingError(f"{where}: {name} is a setting of das-train alone; leave it out")


def recorded(settings: TrainingSettings) -> dict[str, Any]:
    """The settings that have an effect, by name: what a run shows and is resumed with."""
    reasons = settings.without_effect()
    return {name: value for name, value in settings.model_dump().items() if name not in reasons}


def effective(model: type[TrainingSettings], preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `given` that have an effect over the preset: for who composes `--set` from parts.

    Names with a dot, as `segmenter_settings.width`, stay.
    """
    plain = {name: value for name, value in given.items() if "." not in name}
    known = {name: value for name, value in merge(preset, plain).items() if name in model.model_fields}
    reasons = resolve(model, known).without_effect()
    return {name: value for name, value in given.items() if name not in reasons}


def schedule_note(settings: TrainingSettings, given: Mapping[str, Any]) -> str:
    """One line where `epochs` was set and the preset adds epochs of falling rate; else empty."""
    if "epochs" not in given or "decay_epochs" in given or not settings.decay_epochs:
        return ""
    return (
        f"note: {settings.total_epochs} epochs: {settings.epochs} at the full rate (epochs) and the preset's "
        f"{settings.decay_epochs} with it falling to 0 (decay_epochs); --set decay_epochs=0 leaves those out"
    )
