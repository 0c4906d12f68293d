"""The errors a user can meet.

Everything that is the input's or the caller's fault is a `CtsegError`: the command line prints its message on one line
and exits with `exit_code`. Any other exception is a defect of ctseg and keeps its traceback.
"""

from __future__ import annotations


class CtsegError(Exception):
    """An expected error: one line that names the file or the setting, and says what to do."""

    exit_code = 2


class InputError(CtsegError):
    """An input cannot be used as it is: missing, empty, broken, of another schema or size."""


class OutputExistsError(CtsegError):
    """An output is already there and neither `--overwrite` nor `--resume` was given."""


class SettingError(CtsegError):
    """A setting, preset or override is unknown or out of bounds."""


class PluginError(CtsegError):
    """A plugin is missing, broken, misspelt or clashes with another."""


class CaseError(CtsegError):
    """One case of a cohort failed; the others go on and the command ends with exit code 1."""

    exit_code = 1


class TrainingError(CtsegError):
    """Training cannot go on: the losses or gradients are no longer finite, or the network has collapsed."""


def unknown_name(kind: str, name: str, known: list[str] | tuple[str, ...]) -> str:
    """One line for an unknown name: the nearest known one first, then all of them."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {name!r}{hint}; known: {', '.join(sorted(known)) or 'none'}"


def first_line(error: BaseException, length: int | None = 120) -> str:
    """The first line of an error's text, at most `length` letters of it, or the error's type where it has none."""
    lines = str(error).replace("\x00", "").splitlines()
    return (lines[0] if lines and lines[0].strip() else type(error).__name__)[:length]
