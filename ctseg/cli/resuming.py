"""Whether a training that is resumed has something to go on from."""

from __future__ import annotations

from pathlib import Path

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
