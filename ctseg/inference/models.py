"""Trained segmenters in memory, loaded once for many cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from ctseg.errors import InputError
from ctseg.inference.prepare import recipe
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, load_model, model_path


@dataclass(frozen=True)
class LoadedModel:
    """One segmenter, ready to run."""

    module: nn.Module
    header: ModelHeader
    device: torch.device
    recipe: PreprocessSettings
    """How the CT slices have to be made that it is fed with."""
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
    return LoadedModel(module.to(device).eval(), header, device, recipe(header.input), digest)


def recipes(models: Sequence[LoadedModel]) -> list[PreprocessSettings]:
    """The different ways the models want their slices made, each once, in order.

    Raises:
        InputError: if they need different brain extractors: there is one brain, and one mask within it.
    """
    different: list[PreprocessSettings] = []
    for model in models:
        if model.recipe not in different:
            different.append(model.recipe)
    first = different[0]
    for other in different[1:]:
        if (other.brain_extractor, other.brain_extractor_settings) != (
            first.brain_extractor,
            first.brain_extractor_settings,
        ):
            raise InputError("the models were trained with different brain extractors; segment with one at a time")
    return different
