"""Names of models in `--model` and `--from`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctseg.cli import common

if TYPE_CHECKING:
    from ctseg.models import ModelSource


def find_models(given: Sequence[str]) -> list[ModelSource]:
    """The models of some `--model`; the one called `default` where there are none.

    Raises:
        InputError: if one is unknown, listing the known ones, or there is no default.
    """
    from ctseg import api

    return api.find_models(given, common.registry(), common.say)


def find_run(given: str) -> Path:
    """The weights that `--from` or a translation's `--model` means, by name or path.

    Weights with a card, or of a run that recorded their digest, are compared with it.

    Raises:
        InputError: if the name is unknown, or the weights are not those of their card.
    """
    from ctseg.models import checked_digest

    [source] = find_models([given])
    if os.path.isfile(source.weights):  # noqa: PTH113 - what is missing is for the command to say
        checked_digest(source)
    return source.path
