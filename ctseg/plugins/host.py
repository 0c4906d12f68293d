"""The plugin host: finds plugins through entry points, registers what they offer, and imports nothing heavy.

Built-ins come through the same hooks (`ctseg.plugins.builtins`). A plugin that fails to import or to register is
remembered with its error and does not take the tool down, one with a misspelt hook, too. A name that two packages
register is nobody's: using it is an error that names both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import TYPE_CHECKING, Any

import pluggy

from ctseg.errors import CtsegError, PluginError, unknown_name
from ctseg.plugins import hookspecs
from ctseg.plugins.contained import StoppedError, contained, one_line
from ctseg.plugins.entry import Entry as Entry
from ctseg.plugins.entry import normal_name, words
from ctseg.plugins.versions import wrong_ctseg
from ctseg.version import __version__

if TYPE_CHECKING:
    from ctseg.runs import ModelHeader
    from ctseg.settings import Settings

GROUP = "ctseg"
HOOKS = {
    "similarity_metric": "ctseg_register_similarity_metrics",
    "metric": "ctseg_register_metrics",
    "generator": "ctseg_register_generators",
    "segmenter": "ctseg_register_segmenters",
    "brain_extractor": "ctseg_register_brain_extractors",
    "model": "ctseg_register_models",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
OLDER_HOOKS = {1: {"ctseg_register_metrics": "similarity_metric"}}
"""Contract -> hooks that meant another kind then. They work for two minor releases after the contract was raised."""


@dataclass(frozen=True)
class Package:
    """What is known of an installed package; `importlib.metadata` would read its file once for each of these."""

    name: str
    version: str
    requires: tuple[str, ...] = ()

    @classmethod
    def of(cls, package: Distribution) -> Package:
        """Of a distribution."""
        about = package.metadata
        return cls(about["Name"], about["Version"], tuple(about.get_all("Requires-Dist") or ()))


@dataclass(frozen=True)
class Broken:
    """A plugin that could not be loaded."""

    package: str
    version: str
    error: str


@dataclass(frozen=True)
class Deprecated:
    """A plugin that uses an older form of the contract, which still works."""

    package: str
    version: str
    note: str
    """What to change, one line."""


@dataclass(frozen=True)
class Noted:
    """What a plugin did while it was loaded that it should not."""

    package: str
    version: str
    note: str
    """One line."""


@dataclass
class Registry:
    """Everything that is installed."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    deprecated: list[Deprecated] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    manager: pluggy.PluginManager | None = None

    def add(self, entry: Entry) -> None:
        """Register one name; where another package has it, using it is an error that names both."""
        other = self.entries.get((entry.kind, entry.name))
        if other is not None:
            entry = replace(other, rivals=(*other.rivals, (entry.package, entry.version)))
        self.entries[entry.kind, entry.name] = entry

    @property
    def clashes(self) -> list[str]:
        """A line for each name that two packages registered."""
        return [entry.clash for entry in self.entries.values() if entry.clash]

    def names(self, kind: str) -> list[str]:
        """Sorted names of a kind."""
        return sorted(name for entry_kind, name in self.entries if entry_kind == kind)

    def of_kind(self, kind: str) -> list[Entry]:
        """Entries of a kind, by name."""
        return [self.entries[kind, name] for name in self.names(kind)]

    def get(self, kind: str, name: str) -> Entry:
        """One entry.

        Raises:
            PluginError: listing the known names, and the broken plugins that may provide it.
        """
        entry = self.entries.get((kind, name))
        if entry is None:
            others = [other for other, known in self.entries if known == name]
            hint = f"; {name!r} is the name of a {words(others[0])}" if others else ""
            lost = "".join(f"; plugin {item.package} is broken: {item.error}" for item in self.broken)
            raise PluginError(unknown_name(words(kind), name, self.names(kind)) + hint + lost)
        return entry

    def build_from_header(self, header: ModelHeader) -> Any:
        """The untrained network a model header names.

        Raises:
            PluginError: saying which package to install.
        """
        from ctseg.plugins.needed import build_needed

        return build_needed(self, header)

    def version_of(self, header: ModelHeader) -> str:
        """Of the package that `build_from_header` takes the network from; empty where there is none."""
        entry = self.entries.get((header.kind, header.name))
        return "" if entry is None else entry.version


def disabled_plugins(environment: Mapping[str, str] = os.environ) -> tuple[bool, set[str]]:
    """`CTSEG_DISABLE_PLUGINS`: `1` or `all` disables every outside plugin, else a comma-separated list of packages."""
    text = environment.get("CTSEG_DISABLE_PLUGINS", "").strip()
    if text.lower() in ("1", "all", "true"):
        return True, set()
    return False, {normal_name(name) for name in text.split(",") if name.strip()}


def load(*, outside: bool = True, found: Iterable[tuple[EntryPoint, Package]] | None = None) -> Registry:
    """Load the built-ins and, unless disabled, every installed plugin.

    Args:
        outside: whether to load plugins of other packages.
        found: entry points to load instead of the installed ones, for tests.
    """
    from ctseg.plugins import builtins

    registry = Registry(manager=pluggy.PluginManager(GROUP))
    assert registry.manager is not None  # noqa: S101 - narrows the type
    registry.manager.add_hookspecs(hookspecs)
    _register(registry, builtins, "ctseg", __version__)
    everything, names = disabled_plugins()
    if outside and not everything:
        for point, package in found if found is not None else _installed():
            if normal_name(package.name) not in names:
                _load_one(registry, point, package)
    return registry


def _installed() -> list[tuple[EntryPoint, Package]]:
    """Entry points of other packages, each once, in a stable order; a package whose record is broken has none.

    Of a package that is there twice, as in an environment and below it, Python imports the first.
    """
    points: dict[tuple[str, str], tuple[EntryPoint, Package]] = {}
    seen: set[str] = set()
    for distribution in distributions():
        found = _points_of(distribution)
        names = {name for name, _ in found} - seen
        points |= {key: found[key] for key in found if key[0] in names}
        seen |= names
    return [points[key] for key in sorted(points)]


def installed() -> list[Package]:
    """Packages with plugins, those that are left out too."""
    return [package for _, package in _installed()]


def _points_of(distribution: Distribution) -> dict[tuple[str, str], tuple[EntryPoint, Package]]:
    """(package, name) -> a plugin's entry point and its package."""
    try:
        mine = [point for point in distribution.entry_points if point.group == GROUP]
        package = Package.of(distribution) if mine else None
        name = "ctseg" if package is None else normal_name(package.name)
    except Exception:  # a half-removed package; pip says what is wrong with it
        return {}
    return {} if package is None or name == "ctseg" else {(name, point.name): (point, package) for point in mine}


def _load_one(registry: Registry, point: EntryPoint, package: Package) -> None:
    """Load one outside plugin and keep its fault, whatever it is.

    What it prints goes to stderr, so that it does not get into results; of one that fails, nothing stays registered.
    """
    before, modules, put_back = dict(registry.entries), _modules(registry), list[str]()
    try:
        with contained(package.name, package.version) as put_back:
            fault = wrong_ctseg(package) or _load_module(registry, point, package)
    except StoppedError as stop:
        fault = str(stop)
    except CtsegError as error:
        fault = " ".join(str(error).split())
    except (Exception, SystemExit) as error:
        fault = one_line(error)
    if put_back:
        note = f"changed while it was loaded, and put back: {', '.join(put_back)}"
        registry.noted.append(Noted(package.name, package.version, note))
    if fault:
        registry.entries = before
        _forget(registry, modules)
        registry.broken.append(Broken(package.name, package.version, fault))


def _modules(registry: Registry) -> set[Any]:
    """The modules whose hooks are called."""
    return set() if registry.manager is None else registry.manager.get_plugins()


def _forget(registry: Registry, before: set[Any]) -> None:
    """Take out the module that failed: its commands would be added later, and its misspelt hooks be found again."""
    for module in _modules(registry) - before:
        assert registry.manager is not None  # noqa: S101 - narrows the type
        registry.manager.unregister(module)


def _load_module(registry: Registry, point: EntryPoint, package: Package) -> str:
    """Import and register one plugin; why it is left out, or an empty text."""
    try:
        module = point.load()
    except AttributeError:
        if EntryPoint.pattern.match(point.value):
            raise
        return f"its entry point {point.name!r} names no module: {point.value!r}"
    contract = _contract(module)
    if contract > hookspecs.CONTRACT:
        return f"needs plugin contract {contract}, this ctseg has {hookspecs.CONTRACT}; pip install --upgrade ctseg"
    _register(registry, module, package.name, package.version)
    return ""


def _contract(module: Any) -> int:
    """The version of the contract that a plugin follows; 1 where it does not say."""
    return int(getattr(module, "CTSEG_CONTRACT", 1))


def _register(registry: Registry, module: Any, package: str, version: str) -> None:
    """Check a plugin's hooks against the specs and call the registering ones."""
    manager = registry.manager
    assert manager is not None  # noqa: S101 - narrows the type
    try:
        manager.register(module, name=f"{package}:{getattr(module, '__name__', module)}")
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        fault, _, _ = str(error).partition(" in plugin ")  # and then the module's place on this machine
        raise PluginError(f"{fault}; see docs/plugins.md for the hooks") from None
    own = {name for name in HOOKS.values() if callable(getattr(module, name, None))}
    older = OLDER_HOOKS.get(_contract(module), {})
    for kind, hook in HOOKS.items():
        if hook in own:
            meant = older.get(hook, kind)
            getattr(module, hook)(register=_registrar(registry, meant, package, version))
            if meant != kind:
                registry.deprecated.append(Deprecated(package, version, _rename_note(hook, meant)))


def _rename_note(hook: str, meant: str) -> str:
    return (
        f"{hook} registers a {words(meant)} by plugin contract {min(OLDER_HOOKS)}; rename it to {HOOKS[meant]} "
        f"and set CTSEG_CONTRACT = {hookspecs.CONTRACT}"
    )


def _registrar(registry: Registry, kind: str, package: str, version: str) -> Callable[..., None]:
    def register(
        name: str,
        factory: Callable[..., Any],
        *,
        summary: str = "",
        settings: type[Settings] | Callable[[], type[Settings]] | None = None,
        reference: str = "",
    ) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name: letters, digits, dots, dashes and underscores")
        if not callable(factory) or not isinstance(summary, str) or not isinstance(reference, str):
            raise TypeError(f"{name}: expected a function that makes it, and texts as summary and reference")
        earlier = registry.entries.get((kind, name))
        if earlier is not None and package in (earlier.package, *dict(earlier.rivals)):
            raise ValueError(f"{words(kind)} {name!r} is registered twice")
        registry.add(Entry(kind, name, factory, summary, settings, reference, package, version))

    return register
