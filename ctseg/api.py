"""ctseg from Python: the same functions, settings and numbers as the commands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.settings import resolve

if TYPE_CHECKING:
    from ctseg.inference.models import ModelGroup
    from ctseg.inference.predict import Prediction
    from ctseg.io.volume import Volume
    from ctseg.plugins.host import Registry
    from ctseg.plugins.protocols import BrainExtractor


def segment(
    volume: Volume | Path | str,
    model: Path | str | Sequence[Path | str],
    *,
    device: str = "auto",
    **settings: Any,
) -> Prediction:
    """Segment haemorrhage on one head CT, with the numbers of `ctseg segment`.

    Args:
        volume: a `Volume` in HU, or the path of one CT scan: NIfTI file, DICOM folder or zip, or a slice set of
            one scan.
        model: a run folder of `ctseg das-train`, or several to average.
        device: 'auto' (a GPU where there is one, else the CPU), 'cpu', 'cuda', 'cuda:1' or 'mps'.
        settings: those of `ctseg.inference.settings.SegmentSettings`, e.g. `threshold=0.4`.

    Returns:
        probability, mask and brain (K, H, W) on the scan's own grid, canonical axes, and `measures` in mL.

    Raises:
        InputError: if the path holds no scan or several, or the model cannot be used.
        CaseError: if the scan is broken, no CT, or shows no brain.
        SettingError: if a setting is unknown.

    Example:
        `ctseg.segment("scan.nii.gz", "runs/amd-das").measures.ml`
    """
    from ctseg.inference.predict import predict_ready, predict_volume
    from ctseg.inference.scans import ready_scan
    from ctseg.inference.settings import SegmentSettings

    resolved = resolve(SegmentSettings, settings, where="segment")
    groups, extractor = load_for_segment(_paths(model), _device(device))
    if isinstance(volume, (str, Path)):
        return predict_ready(ready_scan(Path(volume), groups, extractor), groups, resolved)
    return predict_volume(volume, groups, resolved, extractor)


def load_for_segment(
    runs: Sequence[Path], device: str, registry: Registry | None = None
) -> tuple[list[ModelGroup], BrainExtractor]:
    """The models of some runs, grouped by preprocessing, and the brain extractor they were trained with.

    Args:
        runs: run folders or weights files.
        device: where the models run.
        registry: plugins to look names up in; default: all installed ones.

    Raises:
        InputError: if a run is unfinished, broken or no segmenter, or the models do not go together.
        PluginError: if a plugin is missing.
    """
    from ctseg.inference.models import by_preprocessing, load_models

    registry = registry or _registry()
    groups = by_preprocessing(load_models(runs, registry.build_from_header, device))
    preprocessing = groups[0].preprocessing
    entry = registry.get("brain_extractor", preprocessing.brain_extractor)
    return groups, entry.build(preprocessing.brain_extractor_settings)


@lru_cache(maxsize=1)
def _registry() -> Registry:
    from ctseg.plugins.host import load

    return load()


def _device(name: str) -> str:
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _paths(model: Path | str | Sequence[Path | str]) -> list[Path]:
    return [Path(model)] if isinstance(model, (str, Path)) else [Path(run) for run in model]
