"""Options of `ctseg reproduce`: values that a shell completes, and numbers with bounds."""

from __future__ import annotations

from typing import Annotated

import typer

from ctseg.cli import common, completion


def row_names(incomplete: str) -> list[tuple[str, str]]:
    """Rows of every table: which table is typed before, a completion does not see."""
    from ctseg_reproduce.systems import ROWS

    return [(name, "") for name in ROWS if name.startswith(incomplete)]


Scale = Annotated[
    str,
    typer.Option(
        "--scale", help="smoke, cpu or gpu; see docs/reproduce.md.",
        autocompletion=completion.one_of(("smoke", "cpu", "gpu")),
    ),
]  # fmt: skip
Preset = Annotated[
    str,
    typer.Option(
        "--preset", help="paper, released or default; without, the scale's own.",
        autocompletion=completion.one_of(("paper", "released", "default")),
    ),
]  # fmt: skip
Window = Annotated[
    str, typer.Option("--window", help="HU that become 0 and 255 in every CT slice, LOW:HIGH; a table of its own.")
]
Rows = Annotated[list[str], typer.Option("--rows", help="This row only; repeat for more.", autocompletion=row_names)]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=10_000, help="Seeds 0 to N - 1.")]
OneSeed = Annotated[
    list[int], typer.Option("--seed", min=0, max=common.LARGEST_SEED, help="This seed only; repeat for more.")
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", min=1, max=common.MOST_PROCESSES,
        help="Rows and seeds made at once, each by one process with one thread.",
    ),
]  # fmt: skip
