"""Models that ship with ctseg, and models by name.

**How a model gets in.** Put two files into this folder:

- `NAME.safetensors`: the `model.safetensors` of a run, as `ctseg das-train` wrote it, under `MAX_SHIPPED_BYTES`;
- `NAME.json`: its card, `ctseg.models.card.ModelCard`. `ctseg models card RUN -o NAME.json` drafts one from the run;
  what it calls "not stated" has to be filled in, each data set says what it served for (`use`), and `made` has machine,
  seconds and seeds. `ct_labels` is about outlines on real CT: labels of phantom CT, which the draft cannot tell from
  them, are none.

Nothing else is needed: the folder is package data, `ctseg_register_models` of the built-ins registers whatever lies
here, and `--model NAME` finds it. The model called `default` is what `ctseg segment` takes without `--model`.
`tests/models/test_shipped.py` checks each: size, card, digest, licences, no CT labels, and that it segments.

A plugin does the same with a folder of its own and `register_folder`; a user puts files or run folders into
`CTSEG_MODELS` (see `user_folder`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.models.catalogue import (
    DEFAULT,
    OTHER_BLOOD,
    Catalogue,
    ModelSource,
    at_path,
    known_models,
    register_folder,
    user_folder,
)

if TYPE_CHECKING:
    from ctseg.models.card import ModelCard, VolumeBin, VolumeCalibration, read_card, write_card
    from ctseg.models.info import ModelInfo, checked, checked_digest, look_at, look_at_all

__all__ = [
    "DEFAULT",
    "MAX_SHIPPED_BYTES",
    "OTHER_BLOOD",
    "SHIPPED",
    "Catalogue",
    "ModelCard",
    "ModelInfo",
    "ModelSource",
    "VolumeBin",
    "VolumeCalibration",
    "at_path",
    "checked",
    "checked_digest",
    "known_models",
    "look_at",
    "look_at_all",
    "read_card",
    "register_folder",
    "user_folder",
    "write_card",
]

SHIPPED = Path(__file__).parent
"""Where the models of the package lie."""
MAX_SHIPPED_BYTES = 10_000_000
"""A wheel is downloaded by everyone, used or not."""

_CARD = ("ModelCard", "VolumeBin", "VolumeCalibration", "read_card", "write_card")
_INFO = ("ModelInfo", "checked", "checked_digest", "look_at", "look_at_all")
_HOMES = {**dict.fromkeys(_CARD, "card"), **dict.fromkeys(_INFO, "info")}
"""Names that need pydantic, imported when they are asked for: a plugin that brings a model needs none."""


def __getattr__(name: str) -> Any:
    """A name of a submodule.

    Raises:
        AttributeError: if there is none.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
