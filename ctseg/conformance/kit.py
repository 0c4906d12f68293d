"""Runs the checks of a plugin, in a test or for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ctseg.arguments import of_kind
from ctseg.conformance.catalogue import CATALOGUE
from ctseg.conformance.subject import Check, NotApplicable, Subject
from ctseg.errors import SettingError, unknown_name

if TYPE_CHECKING:
    from ctseg.plugins.host import Registry

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class ConformanceError(AssertionError):
    """A plugin breaks the contract; one line for each failed check."""


@dataclass(frozen=True)
class Outcome:
    """What one check found."""

    kind: str
    name: str
    check: str
    status: str
    """'passed', 'failed', or 'skipped' where the plugin does not have what is checked."""
    detail: str = ""
    """Why it failed or was skipped, one line."""


@dataclass(frozen=True)
class BoundCheck:
    """One check of one plugin; call it inside a test."""

    function: Check
    subject: Subject

    @property
    def __name__(self) -> str:
        """The check's name; pytest takes it for the test's."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """What is checked, one line."""
        return (self.function.__doc__ or "").partition("\n")[0]

    def __call__(self) -> None:
        """Run the check.

        Raises:
            ConformanceError: if the plugin fails it.
        """
        import pytest

        outcome = self.run()
        if outcome.status == FAILED:
            raise ConformanceError(f"{outcome.kind} {outcome.name}: {outcome.check}: {outcome.detail}")
        if outcome.status == SKIPPED:
            pytest.skip(outcome.detail)

    def run(self) -> Outcome:
        """Run the check and say how it went, whatever the plugin raises."""
        status, detail = PASSED, ""
        with TemporaryDirectory(prefix="ctseg-check-") as folder:
            try:
                self.function(self.subject, Path(folder))
            except NotApplicable as reason:
                status, detail = SKIPPED, str(reason)
            except AssertionError as fault:
                status, detail = FAILED, _one_line(fault) or "an assertion failed"
            except Exception as error:  # another author's plugin may raise anything
                status, detail = FAILED, f"{type(error).__name__}: {_one_line(error)}"
        return Outcome(self.subject.kind, self.subject.name, self.__name__, status, detail)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def checks(
    kind: str,
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
    registry: Registry | None = None,
) -> list[BoundCheck]:
    """The checks of a plugin, for `pytest.mark.parametrize`; nothing is looked up before one is called.

    Args:
        kind: 'similarity_metric', 'metric', 'generator', 'segmenter', 'brain_extractor' or 'model'.
        name: as registered.
        settings: merged over the plugin's defaults, e.g. a small width so that the tests are fast.
        device: 'cpu', 'cuda', 'cuda:1' or 'mps'.
        registry: where to look the name up; default: everything that is installed.

    Raises:
        SettingError: if the kind is unknown.
        InputError: if an argument is of another kind.
    """
    if kind not in CATALOGUE:
        raise SettingError(unknown_name("kind of plugin", kind, list(CATALOGUE)))
    of_kind(name, str, "checks: name", "a registered name")
    of_kind(settings or {}, Mapping, "checks: settings", "settings by name")  # type: ignore[type-abstract]
    if registry is not None:
        from ctseg.plugins.host import Registry

        of_kind(registry, Registry, "checks: registry")
    subject = Subject(kind, name, settings or {}, device, registry)
    return [BoundCheck(function, subject) for function in CATALOGUE[kind]()]


def run_checks(
    kind: str,
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
    registry: Registry | None = None,
    progress: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run all checks of a plugin; arguments as for `checks`, and `progress` gets each outcome as it comes.

    Raises:
        PluginError: if the name is unknown.
        SettingError: if the settings are.
    """
    bound = checks(kind, name, settings=settings, device=device, registry=registry)
    bound[0].subject.entry.resolve(settings or {}, set_as="--set {}=VALUE")
    outcomes = []
    for item in bound:
        outcomes.append(item.run())
        if progress is not None:
            progress(outcomes[-1])
    return outcomes


def check(
    kind: str,
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
    registry: Registry | None = None,
) -> list[Outcome]:
    """Run all checks of a plugin in one test; arguments as for `checks`.

    Raises:
        ConformanceError: naming every check that failed, and why.
        PluginError: if the name is unknown.
    """
    outcomes = run_checks(kind, name, settings=settings, device=device, registry=registry)
    failed = [f"{item.check}: {item.detail}" for item in outcomes if item.status == FAILED]
    if failed:
        raise ConformanceError(f"{kind} {name}: " + "; ".join(failed))
    return outcomes
