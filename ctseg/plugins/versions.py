"""Whether an installed plugin was made for this version of ctseg."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from ctseg.version import __version__

BOUND = re.compile(r"(>=|<)\s*(\d+(?:\.\d+)*)")
PLAIN = re.compile(rf"ctseg\s*(?:{BOUND.pattern}\s*(?:,\s*|$))*$")
"""`ctseg>=0.1,<0.2`: what nearly all plugins ask for."""


class Installed(Protocol):
    """A package as far as it matters here; one of a test may say nothing of what it requires."""

    @property
    def name(self) -> str:
        """As pip knows it."""
        ...

    @property
    def requires(self) -> Sequence[str] | None:
        """`ctseg>=0.1`, one line each."""
        ...


def wrong_ctseg(package: Installed) -> str:
    """What to do where a package asks for another ctseg than this one; empty where they go together.

    pip refuses to install such a pair, but `--no-deps`, a later upgrade of ctseg alone, or another installer may
    leave one behind.

    Args:
        package: an installed package.
    """
    reasons = (_reason(line, package.name) for line in getattr(package, "requires", None) or ())
    return next(filter(None, reasons), "")


def _reason(requirement: str, package: str) -> str:
    """What to do about one line of a package's requirements; empty where it is met or about something else."""
    if not requirement.lower().startswith("ctseg") or _is_plainly_met(requirement):
        return ""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        asked = Requirement(requirement)
    except InvalidRequirement as error:
        return f"its requirement {requirement!r} cannot be read ({error}); pip install --upgrade {package}"
    if asked.name.lower() != "ctseg" or (asked.marker and not asked.marker.evaluate({"extra": ""})):
        return ""
    if asked.specifier.contains(__version__, prereleases=True):
        return ""
    return f"needs ctseg{asked.specifier}, this is {__version__}; pip install --upgrade ctseg {package}"


def _is_plainly_met(requirement: str) -> bool:
    """Whether this is one of `PLAIN` and met; whatever else is asked for is left to packaging, which takes a while."""
    if not PLAIN.match(requirement) or not re.fullmatch(r"\d+(\.\d+)*", __version__):
        return False
    this = _numbers(__version__)
    bounds = [(sign, _numbers(version)) for sign, version in BOUND.findall(requirement)]
    return all(this >= other if sign == ">=" else this < other for sign, other in bounds)


def _numbers(version: str) -> tuple[int, ...]:
    """`0.1.0` -> (0, 1): zeros at the end say nothing."""
    found = [int(part) for part in version.split(".")]
    while found and not found[-1]:
        found.pop()
    return tuple(found)
