"""An account that the system knows no home folder of, as `docker run --user 12345` and many batch systems make one."""

from __future__ import annotations

import pwd

import pytest


def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what says where the home folder is."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
