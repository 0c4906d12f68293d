"""Whether a training that is resumed has something to go on from, and draws the same batches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctseg.cli import common
from ctseg.errors import InputError


def check_checkpoint(run: Path) -> None:
    """Say where a training begins again because its checkpoint is gone, and keep the weights of a finished one.

    Raises:
        InputError: if the training is finished and its checkpoint is gone; training it again would replace its weights.
    """
    if (run / "checkpoint.pt").exists():
        return
    if (run / "model.safetensors").exists():
        raise InputError(
            f"{run}: its checkpoint.pt is gone, and the training is finished: use it as it is, or train it again "
            "with --overwrite"
        )
    metrics = run / "metrics.jsonl"
    if metrics.is_file() and metrics.stat().st_size:
        common.say(f"{run}: has no checkpoint.pt, so --resume begins with the first epoch")


def same_batches(run: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a resumed run, as it was started where only the number of processes is another.

    The same slices meet in each step where processes times batch size is what it was: the sums over them differ by
    rounding alone. A line says what has changed. Anything else is left for `check_resume` to refuse.
    """
    from ctseg.files import read_toml

    path = run / "config.toml"
    old = read_toml(path) if path.exists() else {}
    had, has = (_processes_and_batch(table) for table in (old, config))
    if had == has or 0 in had or had[0] * had[1] != has[0] * has[1]:
        return config
    common.say(
        f"note: resumed with {has[0]} processes and batches of {has[1]}, before with {had[0]} and {had[1]}: the same "
        "slices in each step, sums differ by rounding"
    )
    inputs, settings = {**config["inputs"], "devices": had[0]}, {**config["settings"], "batch_size": had[1]}
    return {**config, "inputs": inputs, "settings": settings}


def _processes_and_batch(config: Mapping[str, Any]) -> tuple[int, int]:
    """0 where a run does not say."""
    inputs, settings = (config.get(name, {}) for name in ("inputs", "settings"))
    return int(inputs.get("devices", 0)), int(settings.get("batch_size", 0))
