"""Trained segmenters in memory, loaded once for many cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ctseg.errors import InputError
from ctseg.inference.prepare import preprocessing_of
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, load_model, model_path


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

    def describe(self) -> dict[str, str]:
        """What outputs say of the model."""
        header = self.header
        return {
            "segmenter": header.name,
            "package": f"{header.package} {header.package_version}",
            "weights": self.digest,
            "trained_by": header.tool,
        }


def load_models(
    runs: Sequence[Path], build: Callable[[ModelHeader], nn.Module], device: torch.device | str = "cpu"
) -> list[LoadedModel]:
    """Load the segmenters of one or more runs; their probabilities are averaged.

    Args:
        runs: run folders or weights files.
        build: makes the untrained network that a header names (the plugin registry's `build_from_header`).
        device: where they run.

    Raises:
        InputError: if there is none, one is unfinished, broken or no segmenter.
        PluginError: if a plugin that one needs is not installed.
    """
    if not runs:
        raise InputError("no model given; name a run folder made by `ctseg das-train`")
    return [_load(Path(run), build, torch.device(device)) for run in runs]


def _load(run: Path, build: Callable[[ModelHeader], nn.Module], device: torch.device) -> LoadedModel:
    module, header = load_model(run, build, "segmenter")
    digest = sha256(model_path(run).read_bytes()).hexdigest()[:12]
    return LoadedModel(module.to(device).eval(), header, device, preprocessing_of(header.input), digest)


@dataclass(frozen=True)
class ModelGroup:
    """Models that segment the same slices."""

    preprocessing: PreprocessSettings
    models: tuple[LoadedModel, ...]


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
