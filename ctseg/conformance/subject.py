"""The input of a check, and how it reports its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctseg.plugins.host import Entry, Registry
    from ctseg.runs import ModelHeader

NETWORKS = ("generator", "segmenter")


class Fault(AssertionError):  # noqa: N818 - it is the plugin that is at fault
    """The plugin breaks the contract; the message says how, in one line."""


class NotApplicable(Exception):  # noqa: N818 - it is no error
    """The check asks about something optional that the plugin does not have."""


def require(condition: Any, message: str) -> None:
    """Raise `Fault(message)` unless `condition`."""
    if not condition:
        raise Fault(message)


@dataclass
class Subject:
    """The plugin under test, with the settings and on the device it is tested with."""

    kind: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    given: Registry | None = None
    """Where to look the name up; None: everything that is installed."""

    @cached_property
    def registry(self) -> Registry:
        """The plugin host, loaded once for all checks."""
        from ctseg.plugins.host import load

        return self.given if self.given is not None else load()

    @property
    def entry(self) -> Entry:
        """What was registered.

        Raises:
            PluginError: if the name is unknown.
        """
        return self.registry.get(self.kind, self.name)

    def build(self, seed: int = 0) -> Any:
        """A new object, a network on the device with its weights drawn from `seed`."""
        if self.kind not in NETWORKS:
            return self.entry.build(self.settings)
        from ctseg.networks.blocks import seeded

        with seeded(seed):
            return self.entry.build(self.settings).to(self.device)

    def header(self) -> ModelHeader:
        """The header a run of this plugin gets."""
        from ctseg.runs import ModelHeader

        entry = self.entry
        values = entry.resolve(self.settings)
        return ModelHeader(entry.kind, entry.name, values, entry.package, entry.version, {"domain": "ct"})

    def load(self, path: Path) -> Any:
        """A saved network, rebuilt from its file by the plugin host as every command does it."""
        from ctseg.networks.blocks import seeded
        from ctseg.runs import load_model

        with seeded(99):  # other first weights: whatever the file does not bring back shows
            module, _ = load_model(path, self.registry.build_from_header, self.kind, self.registry.version_of)
        return module.to(self.device)


Check = Callable[[Subject, Path], None]
"""Looks at one thing that a plugin promises, with an empty folder to write into; raises `Fault` or `NotApplicable`."""
