"""A case becomes slices for the networks. Runs in worker processes, so torch is not imported here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError, InputError, SettingError
from ctseg.inference.settings import SegmentSettings
from ctseg.io.case import Case
from ctseg.io.digest import input_digest
from ctseg.io.discover import read_case
from ctseg.io.extent import check_head
from ctseg.io.volume import Volume
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.brain_mask import brain_of
from ctseg.preprocess.coarse import CoarseBrain
from ctseg.preprocess.ct import prepare_ct
from ctseg.preprocess.prepared import Prepared
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.settings import resolve

IMAGE_SETTINGS = ("size", "fov_mm", "window", "brain_hu", "brain_extractor", "brain_extractor_settings")
"""Preprocessing settings that change what a CT slice looks like; the others choose and split training slices."""


@dataclass(frozen=True)
class ReadyCase:
    """A scan and its slices, preprocessed for each group of models."""

    volume: Volume
    brain: NDArray[np.bool_]
    """(K, h, w) on the volume's own grid."""
    prepared: tuple[Prepared, ...]
    """One for each group of models, in order."""
    seconds: float
    """Time spent on reading and preparing."""
    digest: str = ""
    """Of the input's bytes, see `input_digest`; empty for a volume that came from no file."""


def preprocessing_of(model_input: Mapping[str, Any]) -> PreprocessSettings:
    """The preprocessing settings of a model's CT slices, from its header: those that change the image.

    They were recorded by the CT slice set that the model was trained with, also where it was trained on MR alone.

    Raises:
        InputError: if the header has none, or such as make no slices.
    """
    recorded = model_input.get("preprocess")
    if not isinstance(recorded, Mapping) or "size" not in recorded:
        raise InputError(
            "the model's header has no preprocessing settings; train it on slice sets of `ctseg preprocess`"
        )
    chosen = {key: recorded[key] for key in IMAGE_SETTINGS if key in recorded}
    try:
        return resolve(PreprocessSettings, chosen, where="the model's preprocessing")
    except SettingError as error:
        raise InputError(f"{error}; the file is damaged, or made by another version of ctseg") from None


def extractor_of(extractor: BrainExtractor, settings: SegmentSettings) -> BrainExtractor:
    """The extractor of the models, coarser where the settings ask for it."""
    return CoarseBrain(extractor) if settings.coarse_brain else extractor


def prepare_case(case: Case, preprocessings: Sequence[PreprocessSettings], extractor: BrainExtractor) -> ReadyCase:
    """Read a case and preprocess it.

    Raises:
        CaseError: if it cannot be read, is no CT, no head by its size, or shows no brain.
    """
    started = time.perf_counter()
    ready = prepare_volume(check_head(read_case(case)), preprocessings, extractor)
    return replace(ready, digest=input_digest(case), seconds=time.perf_counter() - started)


def prepare_volume(
    volume: Volume, preprocessings: Sequence[PreprocessSettings], extractor: BrainExtractor
) -> ReadyCase:
    """Extract the brain once and make the slices for each of the preprocessing settings.

    Raises:
        CaseError: if the volume is no CT or shows no brain.
        PluginError: if the extractor fails or gives no mask.
    """
    if volume.domain != "ct":
        raise CaseError(f"{volume.case_id}: is {volume.domain.upper()}, but the model segments haemorrhage on CT")
    started = time.perf_counter()
    brain = brain_of(extractor, volume)
    prepared = tuple(prepare_ct(volume, settings, brain) for settings in preprocessings)
    return ReadyCase(volume, brain, prepared, time.perf_counter() - started)
