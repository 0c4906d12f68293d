"""What `synth-train` and `das-train` share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common

if TYPE_CHECKING:
    from ctseg.io.slices import SliceSet
    from ctseg.plugins import Entry
    from ctseg.training_settings import TrainingSettings

Preset = Annotated[str, typer.Option("--preset", help="paper, released, smoke or demo; --set changes single values.")]
RunFolder = Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")]
Pairs = Annotated[Path | None, typer.Option("--pairs", help="pairs.csv of `ctseg match`.")]


def check_inputs(source: SliceSet, target: SliceSet) -> None:
    """The checks both stages make before anything is written.

    Raises:
        InputError: on an unlabelled source, a target that is no CT, or unequal sizes.
    """
    from ctseg.io.slices import check_domain, check_same_size

    source.require_masks("training needs labels on --src")
    check_domain(target, "ct", "--tgt")
    check_same_size(source, target)


def config(
    command: str, preset: str, settings: TrainingSettings, seed: int, plugin: Entry, sets: Mapping[str, SliceSet]
) -> dict[str, Any]:
    """What `config.toml` holds: the resolved settings and where they came from; folder names only, no absolute path."""
    from ctseg.version import __version__

    return {
        "command": command,
        "preset": preset,
        "seed": seed,
        "tool": f"ctseg {__version__}",
        "plugin": {"kind": plugin.kind, "name": plugin.name, "package": plugin.package, "version": plugin.version},
        "data": {name: {"folder": item.folder.name, **item.info["counts"]} for name, item in sets.items()},
        "settings": settings.model_dump(),
    }


def ct_input(target: SliceSet) -> dict[str, Any]:
    """What a model must know to prepare a CT as its training slices were."""
    return {
        "domain": "ct",
        "size": list(target.size),
        "intensity": target.info["intensity"],
        "preprocess": target.info["settings"],
    }
