"""The plugins that a model or a run was made with, beside those that are installed: what lacks, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctseg.errors import PluginError, SettingError
from ctseg.harmless import one_line
from ctseg.plugins.entry import Entry, normal_name, words
from ctseg.version import __version__

if TYPE_CHECKING:
    from ctseg.plugins.host import Registry
    from ctseg.runs import ModelHeader

OWN = "ctseg"
"""The package whose own networks need no notice of another version: ctseg itself sees to it that they fit."""


@dataclass(frozen=True)
class Needed:
    """A plugin that something was made with."""

    kind: str
    name: str
    package: str
    version: str

    @classmethod
    def of_header(cls, header: ModelHeader) -> Needed:
        """The network of a model."""
        return cls(header.kind, header.name, header.package, header.package_version)

    @classmethod
    def of_table(cls, table: Any, kind: str = "") -> Needed | None:
        """From `plugin` of a run's `config.toml`, or `brain_extractor` of a slice set; None for what is neither."""
        given = {"kind": kind, **table} if isinstance(table, Mapping) else {}
        texts = [given.get(key) for key in ("kind", "name", "package", "version")]
        return cls(*map(str, texts)) if all(isinstance(text, str) and text for text in texts) else None

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install {self.package}=={self.version}"


def needed_entry(registry: Registry, needed: Needed, what: str = "this model") -> Entry:
    """What is installed of a plugin that something was made with, of whichever version.

    Args:
        registry: where to look it up.
        needed: what was used.
        what: was made with it.

    Raises:
        PluginError: saying which package to install, or why it is left out though it is there; if another package has
            the name.
    """
    entry = registry.entries.get((needed.kind, needed.name))
    if entry is not None and normal_name(entry.package) == normal_name(needed.package):
        return entry
    if entry is not None:
        other = f"what is installed of this name is of {entry.package} {entry.version}"
        lacks = f"{other}: {needed.install}, and uninstall {entry.package}"
        if entry.package == OWN:
            lacks = f"{other}; take a ctseg that has no {needed.name!r} of its own"
    else:
        lacks = _why_missing(registry, needed)
    kind, package = words(needed.kind), f"{needed.package} {needed.version}"
    raise PluginError(one_line(f"{what} needs {kind} {needed.name!r} of {package}; {lacks}"))


def _why_missing(registry: Registry, needed: Needed) -> str:
    """Why nothing of this name is there, and the way out."""
    from ctseg.plugins.host import installed

    package = normal_name(needed.package)
    for item in registry.broken:
        if normal_name(item.package) == package:
            return f"{item.package} {item.version} is installed and broken: {item.error}"
    if package == OWN:
        return f"this is ctseg {__version__}: {needed.install}"
    for entry in registry.entries.values():
        if normal_name(entry.package) == package:
            return f"{entry.package} {entry.version} is installed and has none: {needed.install}"
    for found in installed():
        if normal_name(found.name) == package:
            return (
                f"{found.name} {found.version} is installed and left out by --no-plugins or CTSEG_DISABLE_PLUGINS: "
                "leave these out"
            )
    return f"install it: {needed.install}"


def other_version(entry: Entry, needed: Needed) -> str:
    """One line where another version is installed than something was made with; empty for the same and ctseg's own.

    Args:
        entry: what is installed.
        needed: what was used.
    """
    if entry.package == OWN or entry.version == needed.version:
        return ""
    had, has = needed.version, entry.version
    return one_line(f"{words(entry.kind)} {entry.name!r} of {entry.package}: made with {had}, {has} is installed")


def build_needed(registry: Registry, header: ModelHeader) -> Any:
    """The untrained network that a model's header names.

    Raises:
        PluginError: as `needed_entry`; if another version than the model's cannot make it, naming both versions.
        SettingError: if the header's settings are none of its plugin's.
    """
    needed = Needed.of_header(header)
    entry = needed_entry(registry, needed)
    with naming_versions(entry, needed):
        return entry.build(header.settings, set_as="")


@contextmanager
def naming_versions(entry: Entry, needed: Needed) -> Iterator[None]:
    """Use a model's settings in the block; where another version refuses them, the error names both.

    Args:
        entry: what is installed.
        needed: what the model was made with.

    Raises:
        PluginError: in place of errors of the plugin and of its settings, where the versions differ.
    """
    try:
        yield
    except (PluginError, SettingError) as error:
        differs = other_version(entry, needed)
        if not differs:
            raise
        raise PluginError(f"{error}; {differs}: {needed.install}") from None


def extractor_of(registry: Registry, name: str, made: Mapping[str, Any]) -> Entry:
    """The brain extractor of a model's slices.

    Args:
        registry: where to look it up.
        name: what it is called.
        made: `input` of the model's header, which names the package where it is not ctseg.

    Raises:
        PluginError: saying which package to install, or which names are known.
    """
    needed = _extractor_needed(name, made)
    return registry.get("brain_extractor", name) if needed is None else needed_entry(registry, needed)


def _extractor_needed(name: str, made: Mapping[str, Any]) -> Needed | None:
    """What the header says of it; None for one of ctseg's own, or of a model made before headers had it."""
    needed = Needed.of_table(made.get("brain_extractor"), "brain_extractor")
    return needed if needed is not None and needed.name == name else None


def other_versions(registry: Registry, header: ModelHeader) -> list[str]:
    """A line for each plugin of which another version is installed than a model was made with.

    Args:
        registry: what is installed.
        header: of the model.
    """
    made: list[Needed | None] = [Needed.of_header(header)]
    extractor = (header.input.get("preprocess") or {}).get("brain_extractor")
    made.append(_extractor_needed(str(extractor), header.input))
    found = ((registry.entries.get((item.kind, item.name)), item) for item in made if item is not None)
    lines = [other_version(entry, item) for entry, item in found if entry is not None]
    return [line for line in lines if line]
