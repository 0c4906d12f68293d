"""Whether the device of the checks exists."""

from __future__ import annotations

import torch

from ctseg.errors import SettingError


def require_device(device: str) -> None:
    """Refuse a device that torch does not have, before any check runs.

    Raises:
        SettingError: naming it.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise SettingError(f"--device {device}: not on this machine; use --device cpu") from None
