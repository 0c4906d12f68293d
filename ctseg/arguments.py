"""Arguments of functions that are called from Python: one of another kind is one line that names it.

`what` is the function and the argument, as `match: top`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import inf, isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from ctseg.errors import InputError

Kind = TypeVar("Kind")
LONGEST = 60
"""Letters of a wrong value that a message shows."""


def refused(what: str, given: Any, expected: str) -> InputError:
    """The error for an argument: short values are shown, of all others their kind."""
    text = repr(given) if given is None or isinstance(given, (str, bytes, bool, int, float)) else ""
    kind = type(given).__name__
    article = "an" if kind[0] in "aeiouAEIO" or kind == "ndarray" else "a"
    shown = text if 0 < len(text) <= LONGEST else f"{article} {kind}"
    return InputError(f"{what}: takes {expected}, not {shown}")


def a_path(given: Any, what: str) -> Path:
    """The path of a text or a path.

    Raises:
        InputError: if it is neither, or empty, which would be the working folder.
    """
    if isinstance(given, (str, os.PathLike)) and isinstance(os.fspath(given), str):
        if str(given).strip():
            return Path(given)
        raise InputError(f"{what}: the path is empty; give '.' for the working folder")
    raise refused(what, given, "a path")


def some_paths(given: Any, what: str) -> list[Path]:
    """The paths of one path or of several.

    Raises:
        InputError: if one is no path.
    """
    if isinstance(given, (str, os.PathLike)):
        return [a_path(given, what)]
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise refused(what, given, "a path or several")
    return [a_path(item, what) for item in given]


def whole_number(given: Any, what: str, least: int) -> int:
    """A whole number of at least `least`, of Python or NumPy.

    Raises:
        InputError: if it is none, or smaller.
    """
    if not isinstance(given, Integral) or isinstance(given, bool) or given < least:
        raise refused(what, given, f"a whole number of at least {least}")
    return int(given)


def a_number(given: Any, what: str, least: float = -inf) -> float:
    """A finite number of at least `least`, of Python or NumPy.

    Raises:
        InputError: if it is none, or smaller.
    """
    if not isinstance(given, Real) or isinstance(given, bool) or not isfinite(given) or given < least:
        raise refused(what, given, "a finite number" + (f" of at least {least:g}" if isfinite(least) else ""))
    return float(given)


def one_of(given: Kind, known: Iterable[Kind], what: str) -> Kind:
    """A value that is among the known ones.

    Raises:
        InputError: if it is not, listing them.
    """
    known = tuple(known)
    if not any(type(given) is type(value) and given == value for value in known):
        raise refused(what, given, " or ".join(map(repr, known)))
    return given


def of_kind(given: Any, kind: type[Kind], what: str, expected: str = "") -> Kind:
    """An object of a class.

    Raises:
        InputError: if it is of another, saying what is expected: by default the name of the class.
    """
    if not isinstance(given, kind):
        raise refused(what, given, expected or f"a {kind.__module__}.{kind.__name__}")
    return given


def several(given: Any, kind: type[Kind], what: str, expected: str = "") -> list[Kind]:
    """Objects of a class.

    Raises:
        InputError: if it is no list or the like, or one is of another class.
    """
    expected = expected or f"a list of {kind.__module__}.{kind.__name__}"
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
        raise refused(what, given, expected)
    return [of_kind(item, kind, what, expected) for item in given]


def check_executor(given: Any, what: str) -> None:
    """Check an executor that may be left out.

    Raises:
        InputError: if it has no `submit`.
    """
    if given is not None and not callable(getattr(given, "submit", None)):
        raise refused(what, given, "a concurrent.futures.Executor or None")


def callback(given: Any, what: str) -> None:
    """Check a function that may be left out.

    Raises:
        InputError: if it is something else.
    """
    if given is not None and not callable(given):
        raise refused(what, given, "a function or None")
