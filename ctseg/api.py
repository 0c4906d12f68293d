"""ctseg from Python: the same functions, settings and numbers as the commands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ctseg.errors import InputError
from ctseg.failures import check_here
from ctseg.settings import resolve

if TYPE_CHECKING:
    from ctseg.inference.models import LoadedModel, ModelGroup
    from ctseg.inference.predict import Prediction
    from ctseg.io.volume import Volume
    from ctseg.models import Catalogue, ModelInfo, ModelSource
    from ctseg.plugins.host import Registry
    from ctseg.plugins.protocols import BrainExtractor

    Model = Path | str | ModelInfo | ModelSource

logger = logging.getLogger("ctseg")
DRAWING = Lock()
"""Held while torch's random numbers are set aside: two threads would put back each other's."""


def segment(
    volume: Volume | Path | str,
    model: Model | Sequence[Model] | None = None,
    *,
    device: str = "auto",
    **settings: Any,
) -> Prediction:
    """Segment haemorrhage on one head CT, with the numbers of `ctseg segment`.

    Args:
        volume: the path of one CT scan (NIfTI file, DICOM folder or zip, or a slice set of one scan), or a `Volume` in
            HU, which is checked as a file is, and left as it is.
        model: the name of one of `list_models`, a run folder of `ctseg das-train` or its weights, or several of them to
            average; default: the model called `default`. A `Path` is never a name. An item of `list_models` will do.
        device: 'auto' (a GPU where there is one, else the CPU), 'cpu', 'cuda', 'cuda:1' or 'mps'.
        settings: those of `ctseg.inference.settings.SegmentSettings`, e.g. `threshold=0.4`.

    Returns:
        probability, mask and brain (K, H, W) on the scan's own grid, canonical axes, and `measures` in mL.

    Raises:
        InputError: if the path holds no scan or several, what is given is neither path nor volume, the model is
            unknown or cannot be used, or the working folder is gone.
        CaseError: if the scan is broken, no CT, no head, not in HU, or shows no brain.
        PluginError: if a plugin that the model needs is missing or at fault.
        SettingError: if a setting or the device is unknown.

    Example:
        `ctseg.segment("scan.nii.gz", "runs/amd-das").measures.ml`
    """
    check_here()
    import torch

    from ctseg.inference.engines import in_engine
    from ctseg.inference.given import checked_volume
    from ctseg.inference.predict import predict_with_recovery
    from ctseg.inference.prepare import extractor_of, prepare_volume
    from ctseg.inference.scans import ready_scan
    from ctseg.inference.settings import SegmentSettings

    resolved = resolve(SegmentSettings, settings, where="segment")
    if isinstance(volume, str) and not volume.strip():
        raise InputError("segment: the path is empty; give a scan's file or folder")
    given = volume if isinstance(volume, (str, Path)) else checked_volume(volume)
    with torch.device("cpu"):  # a default device of the caller's would be that of every new tensor
        found = find_models(model, say=logger.warning)
        groups, extractor = load_for_segment(found, _device(device), other_blood=resolved.other_blood)
        groups, extractor = in_engine(groups, resolved), extractor_of(extractor, resolved)
        if isinstance(given, (str, Path)):
            ready = ready_scan(Path(given), groups, extractor)
        else:
            ready = prepare_volume(given, [group.preprocessing for group in groups], extractor)
        return predict_with_recovery(ready, groups, resolved)


def load_for_segment(
    runs: Sequence[Path | ModelSource],
    device: str,
    registry: Registry | None = None,
    *,
    other_blood: bool = False,
    say: Callable[[str], object] = logger.warning,
) -> tuple[list[ModelGroup], BrainExtractor]:
    """The models of some runs, grouped by preprocessing, and the brain extractor they were trained with.

    Args:
        runs: run folders or weights files, or what `find_models` found.
        device: where the models run.
        registry: plugins to look names up in; default: all installed ones.
        other_blood: whether the network for other blood is loaded, too.
        say: takes a line for each model that was made with another version of a plugin than is installed.

    Raises:
        InputError: if a run is unfinished, broken or no segmenter, or the models do not go together.
        PluginError: if a plugin is missing.
    """
    import torch

    from ctseg.inference.models import by_preprocessing, load_models, load_other_blood, with_other_blood
    from ctseg.models import OTHER_BLOOD
    from ctseg.plugins.needed import extractor_of

    registry = registry or _registry()
    with DRAWING, torch.random.fork_rng(devices=[]):  # networks draw first weights; the caller's random numbers stay
        loaded = load_models(runs, registry.build_from_header, device, registry.version_of)
        groups = by_preprocessing([_compared(model, registry, say) for model in loaded])
        if other_blood:
            groups = with_other_blood(groups, load_other_blood(_catalogue(registry).named(OTHER_BLOOD), device))
        preprocessing = groups[0].preprocessing
        entry = extractor_of(registry, preprocessing.brain_extractor, groups[0].models[0].header.input)
        return groups, entry.extractor(preprocessing.brain_extractor_settings)


def _compared(model: LoadedModel, registry: Registry, say: Callable[[str], object]) -> LoadedModel:
    """The model, with what its outputs will say of plugins of other versions, which is said."""
    from dataclasses import replace

    from ctseg.plugins.needed import other_versions

    found = "; ".join(other_versions(registry, model.header))
    if found:
        say(f"model {model.name or model.digest}: {found}; masks may differ from those that it was measured with")
    return replace(model, other_versions=found)


def find_models(
    model: Model | Sequence[Model] | None,
    registry: Registry | None = None,
    say: Callable[[str], object] = str,
) -> list[ModelSource]:
    """The models that names and paths mean; the one called `default` where there are none.

    Args:
        model: as `segment` takes it.
        registry: plugins to look names up in; default: all installed ones.
        say: takes a line where a name is also a file, a folder or another model.

    Raises:
        InputError: if one is unknown, listing the known ones, or there is no default.
    """
    several = isinstance(model, Sequence) and not isinstance(model, str | bytes)
    given: list[Any] = list(model) if several else [model]  # type: ignore[arg-type]
    if model is None or not given:
        return [_catalogue(registry).default(say)]
    return [_find_model(item, registry, say) for item in given]


def _find_model(item: Any, registry: Registry | None, say: Callable[[str], object]) -> ModelSource:
    """One model; paths need no look at names.

    Raises:
        InputError: if it is unknown, or neither name, path nor an item of `list_models`.
    """
    from ctseg.models import ModelInfo, ModelSource, at_path

    source = item.source if isinstance(item, ModelInfo) else item
    if isinstance(source, ModelSource):
        return source
    if not isinstance(item, (str, Path)):
        raise InputError(f"model: takes names, paths and items of list_models, not a {type(item).__name__}")
    return at_path(item) or _catalogue(registry).find(item, say)


def list_models(registry: Registry | None = None) -> list[ModelInfo]:
    """Every model that has a name, in the package, from plugins and in the user's folder; broken ones say so.

    Args:
        registry: plugins to look at; default: all installed ones.

    Raises:
        InputError: if it is no registry.
    """
    from ctseg.arguments import of_kind
    from ctseg.models import look_at_all
    from ctseg.plugins.host import Registry

    registry = None if registry is None else of_kind(registry, Registry, "list_models: registry")
    return look_at_all(_catalogue(registry))


def _catalogue(registry: Registry | None) -> Catalogue:
    from ctseg.models import known_models

    return known_models((registry or _registry()).of_kind("model"))


@lru_cache(maxsize=1)
def _registry() -> Registry:
    from ctseg.plugins.host import load

    return load()


def _device(name: str) -> str:
    """The device of that name.

    Raises:
        SettingError: if it is unknown or not there.
    """
    from ctseg.training.device import torch_device

    return str(torch_device(str(name)))
