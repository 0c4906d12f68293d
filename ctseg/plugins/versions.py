"""Whether an installed plugin was made for this version of ctseg."""

from __future__ import annotations

from importlib.metadata import Distribution

from ctseg.version import __version__


def wrong_ctseg(package: Distribution) -> str:
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
    if not requirement.lower().startswith("ctseg"):
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
