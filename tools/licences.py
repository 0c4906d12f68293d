"""What ctseg installs with itself, and under which licences: read from the metadata of the installed packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

COPYLEFT = re.compile(r"(?<![A-Za-z])A?GPL|(?<!Lesser )General Public License|Affero", re.IGNORECASE)
"""The GNU licences that a package under Apache-2.0 cannot depend on; the LGPL is none of them."""
LONGEST = 60
"""Some packages put the whole text of their licence where its name belongs."""


@dataclass(frozen=True)
class Package:
    """An installed package."""

    name: str
    version: str
    licence: str
    requires: tuple[str, ...]
    """Names of the packages that it needs here, extras aside."""

    @property
    def is_copyleft(self) -> bool:
        """Whether its licence, or one of those to choose from, is the GPL or AGPL with no other choice."""
        choices = re.split(r"\bOR\b", self.licence)
        return all(COPYLEFT.search(choice) for choice in choices)


def extras_of(root: str = "ctseg") -> tuple[str, ...]:
    """The optional extras of a package, without that of a decoder under the GPL, which nothing needs."""
    return tuple(name for name in distribution(root).metadata.get_all("Provides-Extra") or () if name != "libjpeg")


def closure(root: str = "ctseg", extras: tuple[str, ...] = ()) -> list[Package]:
    """All packages that `root` needs on this system, without development tools, by name; `root` is first.

    Args:
        root: a distribution.
        extras: of `root` that are counted, too.

    Raises:
        PackageNotFoundError: if one is not installed.
    """
    found: dict[str, Package] = {}
    waiting = [canonicalize_name(root)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _package(distribution(name), extras if not found else ())
            waiting += found[name].requires
    first = found.pop(canonicalize_name(root))
    return [first, *(found[name] for name in sorted(found))]


def _package(installed: Distribution, extras: tuple[str, ...]) -> Package:
    return Package(
        canonicalize_name(installed.metadata["Name"]), installed.version, licence_of(installed),
        tuple(sorted(set(_requires(installed, extras)))),
    )  # fmt: skip


def _requires(installed: Distribution, extras: tuple[str, ...]) -> Iterator[str]:
    for text in installed.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            name = canonicalize_name(requirement.name)
            try:
                distribution(name)
            except PackageNotFoundError:
                raise PackageNotFoundError(f"{name}, which {installed.metadata['Name']} needs") from None
            yield name


def licence_of(installed: Distribution) -> str:
    """The licence as the metadata names it: SPDX expression, else classifiers, else the free field."""
    data = installed.metadata
    expression = data.get("License-Expression")
    if expression:
        return str(expression)
    named = [line.rpartition("::")[2].strip() for line in data.get_all("Classifier") or () if "License ::" in line]
    named = [name for name in named if name != "OSI Approved"]
    free = str(data.get("License") or "").strip().splitlines()
    short = free[0].strip() if free and len(free[0]) <= LONGEST else ""
    return ", ".join(named) or short or "not said"
