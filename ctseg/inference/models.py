"""Trained segmenters in memory, loaded once for many cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ctseg.errors import InputError, first_line
from ctseg.inference.kind_slices import CLASSES, KINDS_NETWORK
from ctseg.inference.ood import check_profile
from ctseg.inference.prepare import preprocessing_of
from ctseg.inference.settings import SegmentSettings
from ctseg.io.input_digests import DIGITS
from ctseg.models import ModelSource, VolumeCalibration, checked
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, load_model

STATED: dict[str, Any] = {"faint_hu": 0.0, "grow_mm": 0.0, "tta": False}
"""Settings of `segment` that a model's card may state, and what they are without one."""


@dataclass(frozen=True)
class LoadedModel:
    """One segmenter, ready to run."""

    module: nn.Module
    header: ModelHeader
    device: torch.device
    preprocessing: PreprocessSettings
    """Of the CT slices that it was trained on, and so of those that it segments."""
    digest: str
    """First 12 hex digits of the weights file's SHA-256: which model it was, without its path."""
    name: str = ""
    """As `--model` named it; empty for one given by its path."""
    owner: str = ""
    """The package that brings it and its version; empty for a model of the user's."""
    volumes: VolumeCalibration | None = None
    """By how much its volumes are off, where its card says so."""
    faint_hu: float = 0.0
    """The setting of that name that its card's numbers were measured with."""
    grow_mm: float = 0.0
    """As `faint_hu`."""
    tta: bool = False
    """As `faint_hu`."""
    other_versions: str = ""
    """Which plugins are of another version than it was made with; empty where none is."""
    version: str = ""
    """Of the package that the network's code is of; empty where that is the header's."""

    @property
    def who(self) -> str:
        """The network's code, for messages: `segmenter odd of ctseg-odd 0.4.0`."""
        return f"segmenter {self.label} of {self.header.package} {self.version or self.header.package_version}"

    @property
    def label(self) -> str:
        """`default (unet)`, or `unet` for a model without a name."""
        return f"{self.name} ({self.header.name})" if self.name else self.header.name

    def describe(self) -> dict[str, str]:
        """What outputs say of the model; the keys of `NAMING` say what it is called, the others what it is."""
        header = self.header
        differ = {"other_versions": self.other_versions} if self.other_versions else {}
        return {
            "model": self.name,
            "owner": self.owner,
            "segmenter": header.name,
            "package": f"{header.package} {header.package_version}",
            "weights": self.digest,
            "trained_by": header.tool,
            **differ,
        }


def load_models(
    runs: Sequence[Path | ModelSource],
    build: Callable[[ModelHeader], nn.Module],
    device: torch.device | str = "cpu",
    version_of: Callable[[ModelHeader], str] | None = None,
) -> list[LoadedModel]:
    """Load the segmenters of one or more runs; their probabilities are averaged.

    Args:
        runs: run folders or weights files, or models of a `ctseg.models.Catalogue`.
        build: makes the untrained network that a header names (the plugin registry's `build_from_header`).
        device: where they run.
        version_of: of the package that `build` takes a network from (`Registry.version_of`).

    Raises:
        InputError: if there is none, one is unfinished, broken or no segmenter, or not the one of its card.
        PluginError: if a plugin that one needs is not installed.
    """
    if not runs:
        raise InputError("no model given; name a run folder made by `ctseg das-train`")
    sources = [run if isinstance(run, ModelSource) else ModelSource(Path(run)) for run in runs]
    return [_load(source, build, torch.device(device), "segmenter", version_of) for source in sources]


def load_other_blood(source: ModelSource, device: torch.device | str = "cpu") -> LoadedModel:
    """Load the network for other blood.

    Raises:
        InputError: if it is broken, another network, or not the one of its card.
    """
    return _load(source, build_kinds, torch.device(device), "kinds-segmenter")


def build_kinds(header: ModelHeader) -> nn.Module:
    """The untrained network for other blood.

    Raises:
        InputError: if the header's settings make none of this version's.
    """
    from ctseg.networks.unet import KindsUNet

    if header.name != KINDS_NETWORK or header.settings.get("classes") != CLASSES:
        raise InputError(f"{header.name!r} with these settings is no network of {CLASSES} kinds; install ctseg again")
    try:
        return KindsUNet(**header.settings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the header's settings make no network ({first_line(error)}); install ctseg again") from None


def _load(
    source: ModelSource,
    build: Callable[[ModelHeader], nn.Module],
    device: torch.device,
    kind: str,
    version_of: Callable[[ModelHeader], str] | None = None,
) -> LoadedModel:
    sha256, card = checked(source)
    module, header = load_model(source.path, build, kind, version_of)
    try:
        preprocessing = preprocessing_of(header.input)
        check_profile(header.input.get("profile"))
    except InputError as error:
        raise InputError(f"{source.weights}: {error}") from None
    owner = source.owner if source.origin in ("package", "plugin") else ""
    module.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    version = "" if version_of is None else version_of(header)
    loaded = LoadedModel(module, header, device, preprocessing, sha256[:DIGITS], source.name, owner, version=version)
    if card is None:
        return loaded
    return replace(loaded, volumes=card.volumes, **{name: getattr(card, name) for name in STATED})


@dataclass(frozen=True)
class ModelGroup:
    """Models that segment the same slices."""

    preprocessing: PreprocessSettings
    models: tuple[LoadedModel, ...]
    other_blood: LoadedModel | None = None
    """The network that says which other blood there is; of one group at most."""


def with_other_blood(groups: Sequence[ModelGroup], model: LoadedModel) -> list[ModelGroup]:
    """The groups with the network for other blood: in the group whose slices it shares, else in one of its own.

    The brain is that of the other models, whichever extractor they were trained with.
    """
    first = groups[0].preprocessing
    extractor = {key: getattr(first, key) for key in ("brain_extractor", "brain_extractor_settings")}
    wanted = model.preprocessing.model_copy(update=extractor)
    for place, group in enumerate(groups):
        if group.preprocessing == wanted:
            return [*groups[:place], replace(group, other_blood=model), *groups[place + 1 :]]
    return [*groups, ModelGroup(wanted, (), model)]


def mask_models(groups: Sequence[ModelGroup]) -> list[LoadedModel]:
    """The networks whose mean is the mask, group by group."""
    return [model for group in groups for model in group.models]


def all_models(groups: Sequence[ModelGroup]) -> list[LoadedModel]:
    """Every network that has a part in the output, that for other blood last."""
    others = [group.other_blood for group in groups if group.other_blood is not None]
    return [*mask_models(groups), *others]


def with_card(settings: SegmentSettings, groups: Sequence[ModelGroup]) -> SegmentSettings:
    """The settings, with what they leave to the model's card; several models have no card of theirs together."""
    models = mask_models(groups)
    left = {
        name: getattr(models[0], name) if len(models) == 1 else without
        for name, without in STATED.items()
        if getattr(settings, name) is None
    }
    return settings.model_copy(update=left)


def by_preprocessing(models: Sequence[LoadedModel]) -> list[ModelGroup]:
    """Group models by their preprocessing settings, in order of first appearance.

    Raises:
        InputError: if they need different brain extractors: there is one brain, and one mask within it.
    """
    groups: list[list[LoadedModel]] = []
    for model in models:
        alike = next((group for group in groups if group[0].preprocessing == model.preprocessing), None)
        if alike is None:
            groups.append([model])
        else:
            alike.append(model)
    if any(_extractor(group[0]) != _extractor(groups[0][0]) for group in groups):
        raise InputError("the models were trained with different brain extractors; segment with one at a time")
    return [ModelGroup(group[0].preprocessing, tuple(group)) for group in groups]


def _extractor(model: LoadedModel) -> tuple[str, dict[str, Any]]:
    return model.preprocessing.brain_extractor, model.preprocessing.brain_extractor_settings
