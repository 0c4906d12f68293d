"""What `--device` and `--precision` may say; whether the machine has it is asked in `ctseg.training.device`."""

from __future__ import annotations

import re

from ctseg.errors import SettingError

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Beside these, one GPU is `cuda:n`."""
PRECISIONS = {"32": "32-true", "32-true": "32-true", "bf16": "bf16-mixed", "bf16-mixed": "bf16-mixed"}
"""Names of the precisions but for `auto`, and what Fabric calls them."""


def check_device_name(name: str) -> None:
    """Refuse what names no device anywhere.

    Raises:
        SettingError: listing the names.
    """
    if name not in DEVICES and not re.fullmatch(r"cuda:\d+|auto:", name):
        raise SettingError(f"--device {name}: unknown; use auto, cpu, cuda, cuda:n or mps")


def check_precision_name(name: str) -> None:
    """Refuse what names no precision.

    Raises:
        SettingError: listing the names.
    """
    if name != "auto" and name not in PRECISIONS:
        raise SettingError(f"--precision {name}: unknown; use auto, 32 or bf16")
