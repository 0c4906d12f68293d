"""The errors a user can meet.

Everything that is the input's or the caller's fault is a `CtsegError`: the command line prints its message on one line
and exits with `exit_code`. Any other exception is a defect of ctseg and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_LISTED = 16
"""Longer lists of known names are left to the command that shows them."""


class CtsegError(Exception):
    """An expected error: one line that names the file or the setting, and says what to do."""

    exit_code = 2


class InputError(CtsegError):
    """An input cannot be used as it is: missing, empty, broken, of another schema or size."""


class UnreadableError(InputError):
    """The system does not give a file: nothing is known of its content, so it is neither missing nor broken."""


class OutputExistsError(CtsegError):
    """An output is already there and neither `--overwrite` nor `--resume` was given."""


class SettingError(CtsegError):
    """A setting, preset or override is unknown or out of bounds."""


class PluginError(CtsegError):
    """A plugin is missing, broken, misspelt or clashes with another."""

    def __init__(self, text: str, made_by: str = "") -> None:
        """Say what is wrong.

        Args:
            text: one line.
            made_by: what gave the values that are at fault, as `segmenter Net of ctseg_odd`; the line begins with it.
        """
        super().__init__(f"{made_by}: {text}" if made_by else text)
        self.text, self.made_by = text, made_by

    def __reduce__(self) -> tuple[type[PluginError], tuple[str, str]]:
        """Workers hand it on."""
        return type(self), (self.text, self.made_by)


class CaseError(CtsegError):
    """One case of a cohort failed; the others go on and the command ends with exit code 1."""

    exit_code = 1


class TrainingError(CtsegError):
    """Training cannot go on: the losses or gradients are no longer finite, or the network has collapsed."""


def unknown_name(kind: str, name: str, known: list[str] | tuple[str, ...], listed_by: str = "") -> str:
    """One line for an unknown name: the nearest known one first, then all of them.

    Args:
        kind: what it should name, as 'setting'.
        name: the unknown one.
        known: all that would do.
        listed_by: a command that lists them; given, a list longer than `MOST_LISTED` is left to it.
    """
    near = nearest(name, known) if isinstance(name, str) else ""
    hint = f" (did you mean {near!r}?)" if near else ""
    if listed_by and len(known) > MOST_LISTED:
        return f"unknown {kind} {name!r}{hint}; `{listed_by}` lists all {len(known)}"
    return f"unknown {kind} {name!r}{hint}; known: {', '.join(sorted(known)) or 'none'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was most probably meant; empty where none is near.

    The nearest by letters, else the only one that has every part of `name`: `les` is `lambda_les`.
    """
    from difflib import get_close_matches

    known = list(known)
    found = get_close_matches(name, known, n=1)
    if found:
        return found[0]
    parts = {part for part in re.split(r"[^a-z0-9]+", name.lower()) if len(part) > 1}
    holding = [other for other in known if parts and all(part in other.lower() for part in parts)]
    return holding[0] if len(holding) == 1 else ""


def first_line(error: BaseException, length: int | None = 120) -> str:
    """The first line of an error's text, at most `length` letters of it, or the error's type where it has none."""
    lines = str(error).replace("\x00", "").splitlines()
    return (lines[0] if lines and lines[0].strip() else type(error).__name__)[:length]


QUOTED = re.compile(r"""(?:b?"|(?<!\w)b?').*["'](?!\w)|'.*'(?!\w)|(?:b?"|(?<!\w)b?').*$""")
"""From the first quotation mark of a line to its last, since a name may hold some, or to the end if it was cut off."""


def without_quotes(text: str) -> str:
    """One line of a library without what it quotes: that comes from the file, and may be a patient's name."""
    return QUOTED.sub("...", text)


class ClusterError(CtsegError):
    """The scheduler of a cluster is gone, and with it what its workers were at."""
