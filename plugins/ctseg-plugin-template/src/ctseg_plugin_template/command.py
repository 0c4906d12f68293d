"""A command of ctseg's command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def count(folder: Annotated[Path, typer.Argument(help="Slice set.")]) -> None:
    """Print how many slices a slice set has."""
    from ctseg.io.slices import open_slices

    typer.echo(str(len(open_slices(folder))))
