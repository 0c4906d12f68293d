"""What an inspection found, in the same form for every kind of thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """One inspection."""

    path: Path
    kind: str
    """'scans', 'slice set', 'pairs', 'run', 'folds', 'masks', 'segmentation', 'evaluation', 'study', 'output'
    (of another command), 'outputs' (a folder of them) or 'unknown'."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Counts, geometry, ranges and origin, in the order in which they are shown."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One for each scan or mask."""
    problems: list[str] = field(default_factory=list)
    """What a command would refuse or get wrong."""
    remarks: list[str] = field(default_factory=list)
    """What is worth a look and stops nothing."""
    steps: list[str] = field(default_factory=list)
    """Commands that go on from here."""
    draw: Callable[[Path], object] | None = field(default=None, repr=False)
    """Writes a picture of it to a PNG file; None where there is nothing to see."""

    made_of: Callable[[], dict[str, str]] = field(default=dict, repr=False)
    """Gives the digests of what the picture shows, see `ctseg.io.input_digests`."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found that a command would refuse."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path), "kind": self.kind, "sound": self.is_sound, "facts": self.facts,
            "problems": self.problems, "remarks": self.remarks, "next": self.steps, "rows": self.rows,
        }  # fmt: skip
