"""The models in the package, made from nothing by `ctseg reproduce NAME`."""

from __future__ import annotations

from pathlib import Path

import typer

from ctseg.cli import common
from ctseg_reproduce.brain_model.command import make_brain_model
from ctseg_reproduce.default_model import DEFAULT_MODEL
from ctseg_reproduce.other_blood.command import make_other_blood_model

BRAIN_MODEL, OTHER_BLOOD_MODEL = "brain-model", "other-blood-model"
SHIPPED_MODELS = (DEFAULT_MODEL, BRAIN_MODEL, OTHER_BLOOD_MODEL)
"""What `ctseg reproduce` calls them."""


def make_model(
    table: str,
    output: Path,
    template: Path | None,
    seed: int,
    workers: int,
    device: str,
    precision: str,
    as_json: bool,
) -> None:
    """Make what is in the package: the default model, the brain network or the network for other blood."""
    if table == DEFAULT_MODEL:
        _make_default_model(output, seed, workers, device, precision, as_json)
    elif table == OTHER_BLOOD_MODEL:
        make_other_blood_model(output, seed, workers, device, precision, as_json)
    else:
        make_brain_model(output, template, seed, device, as_json)


def _make_default_model(output: Path, seed: int, workers: int, device: str, precision: str, as_json: bool) -> None:
    """Make the default model, or go on where an earlier call stopped."""
    from ctseg.cli.run import execute
    from ctseg.outputs import continued_folder
    from ctseg.runs import model_path
    from ctseg_reproduce import run
    from ctseg_reproduce.default_model import default_model_stage
    from ctseg_reproduce.making import finish
    from ctseg_reproduce.stages import run_stage, stage_lock

    place = common.guard(output, "reproduce", (), resume=True)
    stage = default_model_stage(seed, workers, device, precision)
    with continued_folder(place, run.FILES), stage_lock(output, stage, common.say):
        code = run_stage(output, stage, execute)
        if code:
            raise typer.Exit(code)
    finish(model_path(output / stage.folder / "run"), as_json)
