"""Whether references and predictions have changed places, as far as the folders of ctseg tell.

Dice is the same when they are swapped, but what counts as missed and as false is not, so no number would show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ctseg.errors import InputError
from ctseg.evaluation.cases import Matching
from ctseg.files import read_json_beside
from ctseg.inference.results import DETAILS, SCHEMA
from ctseg.io.dicom.header import made_by
from ctseg.io.mask_files import OWN_MAKER, case_of, mask_case
from ctseg.io.source import Source
from ctseg.outputs import read_mark

PREDICTED = ("segment", "bids")
"""Commands whose masks are a model's."""
TRUE = "phantom"
"""The command whose masks are true: it drew what they outline."""
LEVELS = 4
"""A mask lies at most so many folders below the mark of its output (`phantom/truth/iph/test`)."""


def check_roles(matching: Matching) -> list[str]:
    """Refuse references that a model made beside predictions that none made, and the truth of a phantom as prediction.

    Args:
        matching: the masks of the evaluation.

    Returns:
        What to say where references and predictions both come from a model: it may be meant.

    Raises:
        InputError: naming the folder that likely belongs behind the other flag.
    """
    makers = _Makers()
    refs = [job.ref for job in matching.jobs]
    preds = [path for job in matching.jobs for path in job.preds if path is not None]
    _check_truth(makers, refs, preds)
    made = makers.by(refs, PREDICTED)
    if not made:
        return []
    words = f"{len(made)} of {len(refs)} references {'were' if len(made) > 1 else 'was'}"
    if not makers.by(preds, PREDICTED):
        raise InputError(
            f"--ref {made[0].parent}: {words} made by `ctseg {makers.of(made[0])}`, and none behind --pred is; "
            "swap --pred and --ref? To use them as they are, copy the NIfTI files alone into a new folder"
        )
    return [f"{words} made by a model, too: the numbers say how far models agree, not who is right"]


def _check_truth(makers: _Makers, refs: Sequence[Path], preds: Sequence[Path]) -> None:
    true = makers.by(preds, (TRUE,))
    if true and not makers.by(refs, (TRUE,)):
        raise InputError(f"--pred {true[0].parent}: is the truth of `ctseg phantom`; swap --pred and --ref?")


def same_notes(inputs: Mapping[str, Any]) -> list[str]:
    """What to say of models whose every prediction is its reference, byte for byte.

    Args:
        inputs: as of `ctseg.evaluation.cases.matching_digests`.
    """
    same = [name for name, digest in inputs["predictions"].items() if digest == inputs["reference"]]
    return [f"{name}: every prediction is its reference, byte for byte; is --ref the right folder?" for name in same]


class _Makers:
    """Which command of ctseg made a mask: by a mark above it, the list of cases beside it, or its header."""

    def __init__(self) -> None:
        self._marked = cache(_marked)
        self._listed = cache(_listed)
        self._made_by = cache(_seg_maker)

    def of(self, path: Path) -> str:
        """The command; empty for masks of other programs and of people."""
        path = Path(path).absolute()
        for folder in path.parents[: LEVELS + 1]:
            kind, owns = self._marked(folder)
            if kind and owns(path.relative_to(folder).as_posix()):
                return kind
        is_own = mask_case(path.name) in self._listed(path.parent) or self._made_by(path) == OWN_MAKER
        return PREDICTED[0] if is_own else ""

    def by(self, paths: Iterable[Path], commands: Sequence[str]) -> list[Path]:
        """The masks that one of these commands made."""
        return [path for path in paths if self.of(path) in commands]


def _marked(folder: Path) -> tuple[str, Callable[[str], bool]]:
    """The command that wrote a folder, and which files in it are its own."""
    mark = read_mark(folder)
    return ("", lambda _: False) if mark is None else (mark.kind, mark.owns())


def _seg_maker(path: Path) -> str:
    """Manufacturer of a DICOM SEG; empty of any other mask."""
    return made_by(Source(str(path))) if case_of(path.name) is None else ""


def _listed(folder: Path) -> frozenset[str]:
    """The cases in the `volumes.json` of `ctseg segment`, be its mark gone; none where there is no such file."""
    data = read_json_beside(folder / DETAILS)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("cases"), list):
        return frozenset()
    rows: Iterable[Any] = data["cases"]
    return frozenset(row["case"] for row in rows if isinstance(row, dict) and isinstance(row.get("case"), str))
