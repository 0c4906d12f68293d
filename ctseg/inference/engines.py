"""What runs the networks of `segment`: torch, or ncnn where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ctseg.errors import SettingError

if TYPE_CHECKING:
    from ctseg.inference.models import ModelGroup
    from ctseg.inference.settings import SegmentSettings


def in_engine(groups: Sequence[ModelGroup], settings: SegmentSettings) -> list[ModelGroup]:
    """The models with their networks in the engine that the settings name.

    Raises:
        InputError: if its package is missing, or it cannot run a model.
        SettingError: if it does not compute as the settings say.
    """
    check_engine(settings)
    if settings.engine == "torch":
        return list(groups)
    from ctseg.inference.ncnn_runner import run_by_ncnn

    return run_by_ncnn(groups)


def check_engine(settings: SegmentSettings) -> None:
    """Refuse another arithmetic than the engine has.

    Raises:
        SettingError: if there is one.
    """
    if settings.engine == "ncnn" and settings.precision != "32-true":
        raise SettingError("engine=ncnn computes in float32; leave out --precision, or engine")
