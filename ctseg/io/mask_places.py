"""Whether folders say that two files of one name are no pair: `ses-1/anna.nii.gz` and `ses-2/anna.nii.gz`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path

from ctseg.io.identity import TIME_WORDS
from ctseg.io.mask_files import mask_case
from ctseg.io.nifti.layouts import IMAGE_FOLDER, LABEL_FOLDER

TIME_POINT = re.compile(
    rf"(?:{TIME_WORDS}|day|month|year|pre|post|admission|discharge)[_\-. ]*\d*[a-z]?", re.IGNORECASE
)


def disagree(
    one: Sequence[str], other: Sequence[str], ones: Collection[str], others: Collection[str]
) -> tuple[str, str] | None:
    """A folder of each of two files which say that the files do not belong together; None where none do.

    They do where they are two time points (`baseline`, `followup`), or have the same words and other numbers or single
    letters (`ses-1`, `ses-2`; `readerA`, `readerB`), or where another file of the other side lies in such a folder.

    Args:
        one: folders above the first file.
        other: those above the second.
        ones: folders above any file of the first side.
        others: those of the second side.
    """
    left, right = unlike(one, other), unlike(other, one)
    for name, beside in product(left, right):
        if _kind(name) and _kind(name) == _kind(beside):
            return name, beside
    known = {_plain(name) for name in others}, {_plain(name) for name in ones}
    for name, beside in product(left, right):
        if _plain(name) in known[0] or _plain(beside) in known[1]:
            return name, beside
    return None


def folders_of(masks: Mapping[str, Path], root: Path) -> dict[str, tuple[str, ...]]:
    """Case -> folders of its mask below a folder, of masks that have their case's name themselves."""
    named = {case: path for case, path in masks.items() if path != root and mask_case(path.name) == case}
    return {case: path.parent.relative_to(root).parts for case, path in named.items()}


def names_in(folders: Mapping[str, Sequence[str]]) -> set[str]:
    """Every folder's name that `folders_of` found."""
    return {name for names in folders.values() for name in names}


def unlike(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """The folders of the first file that are none of the second's, but for those that any images or labels have."""
    shared = {_plain(name) for name in other}
    return [
        name
        for name in one
        if _plain(name) not in shared and not LABEL_FOLDER.fullmatch(name) and not IMAGE_FOLDER.fullmatch(name)
    ]


def _plain(name: str) -> str:
    """A name in lower case, its numbers without leading zeros."""
    return re.sub(r"\d+", lambda number: str(int(number[0])), name.casefold())


def _kind(name: str) -> str:
    """What a folder's name counts or tells apart; empty where it has neither number nor single letter."""
    if TIME_POINT.fullmatch(name):
        return "time point"
    words = re.findall(r"\d+|[A-Z]?[a-z]+|[A-Z]+", name)
    kinds = ["#" if word.isdigit() or len(word) == 1 else word.lower() for word in words]
    return " ".join(kinds) if "#" in kinds else ""
