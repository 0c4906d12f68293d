"""The paper's Tables 2 to 5 as studies of ctseg's own commands: `ctseg reproduce`."""

from __future__ import annotations

from typing import Any

from ctseg import hookimpl


@hookimpl
def ctseg_register_commands(app: Any) -> None:
    """Add `ctseg reproduce` and the two small commands that its studies need."""
    from ctseg_reproduce.command import add_to

    add_to(app)
