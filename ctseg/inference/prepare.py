"""A case becomes what the networks are fed with. Runs in worker processes, so torch is not imported here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError, InputError
from ctseg.io.discover import Case, read_case
from ctseg.io.volume import Volume
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.ct import prepare_ct
from ctseg.preprocess.prepared import Prepared
from ctseg.preprocess.settings import PreprocessSettings

PICTURE_SETTINGS = ("size", "fov_mm", "window", "brain_extractor", "brain_extractor_settings")
"""Those preprocessing settings that change what a CT slice looks like; the others choose and split training slices."""


@dataclass(frozen=True)
class ReadyCase:
    """A scan and its slices as each model wants them."""

    volume: Volume
    brain: NDArray[np.bool_]
    """(K, h, w) on the volume's own grid."""
    prepared: tuple[Prepared, ...]
    """One for each recipe, in order."""
    seconds: float
    """Time spent on reading and preparing."""


def recipe(model_input: Mapping[str, Any]) -> PreprocessSettings:
    """How a model's CT slices are made: the preprocessing settings in its header that change the picture.

    They were recorded by the CT slice set that the model was trained with, also where it was trained on MR alone.

    Raises:
        InputError: if the header has none.
    """
    recorded = model_input.get("preprocess")
    if not isinstance(recorded, Mapping) or "size" not in recorded:
        raise InputError(
            "the model does not say how its CT slices were made; train it on slice sets of `ctseg preprocess`"
        )
    return PreprocessSettings(**{key: recorded[key] for key in PICTURE_SETTINGS if key in recorded})


def prepare_case(case: Case, recipes: Sequence[PreprocessSettings], extractor: BrainExtractor) -> ReadyCase:
    """Read a case and prepare it.

    Raises:
        CaseError: if it cannot be read, is no CT or shows no brain.
    """
    started = time.perf_counter()
    ready = prepare_volume(read_case(case), recipes, extractor)
    return ReadyCase(ready.volume, ready.brain, ready.prepared, time.perf_counter() - started)


def prepare_volume(volume: Volume, recipes: Sequence[PreprocessSettings], extractor: BrainExtractor) -> ReadyCase:
    """Find the brain once and make the slices of every recipe.

    Raises:
        CaseError: if the volume is no CT or shows no brain.
    """
    if volume.domain != "ct":
        raise CaseError(f"{volume.case_id}: is {volume.domain.upper()}, but the model outlines haemorrhage on CT")
    started = time.perf_counter()
    brain = np.asarray(extractor(volume), dtype=bool)
    prepared = tuple(prepare_ct(volume, settings, lambda _: brain) for settings in recipes)
    return ReadyCase(volume, brain, prepared, time.perf_counter() - started)
