"""What a plugin registers: a name, and how the object behind it is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctseg.errors import PluginError

if TYPE_CHECKING:
    from ctseg.settings import Settings


SET_AS = {
    "similarity_metric": "--set {}=VALUE",
    "metric": "--set metric_settings.NAME.{}=VALUE",
    "generator": "--set generator_settings.{}=VALUE",
    "segmenter": "--set segmenter_settings.{}=VALUE",
    "brain_extractor": "--set brain_extractor_settings.{}=VALUE",
}
"""Kind -> how a plugin's own setting is given to the command that uses it."""


@dataclass(frozen=True)
class Entry:
    """One registered name."""

    kind: str
    name: str
    factory: Callable[..., Any]
    summary: str
    settings: type[Settings] | Callable[[], type[Settings]] | None
    reference: str
    package: str
    version: str
    rivals: tuple[tuple[str, str], ...] = ()
    """(package, version) of the others that registered this name: then nobody has it."""

    @property
    def clash(self) -> str:
        """Which packages registered the name, and how to leave one out; empty where one did."""
        if not self.rivals:
            return ""
        *first, last = (f"{package} {version}" for package, version in [(self.package, self.version), *self.rivals])
        ways_out = _ways_out(self.package, [package for package, _ in self.rivals])
        if len(first) == 1:
            return f"{words(self.kind)} {self.name!r} is registered by both {first[0]} and {last}; {ways_out}"
        return f"{words(self.kind)} {self.name!r} is registered by {', '.join(first)} and {last}; {ways_out}"

    def settings_model(self) -> type[Settings]:
        """The typed settings; an entry without any takes none.

        Raises:
            PluginError: if the plugin gives no class of settings, or two packages have the name.
        """
        from ctseg.settings import Settings

        if self.clash:
            raise PluginError(self.clash)
        if self.settings is None:
            return Settings
        found: Any = self.settings if isinstance(self.settings, type) else self.outside_call(self.settings)
        if not (isinstance(found, type) and issubclass(found, Settings)):
            name = found.__name__ if isinstance(found, type) else f"its settings, a {type(found).__name__},"
            raise PluginError(f"{self.who}: {name} must be a subclass of ctseg.settings.Settings")
        return found

    def resolve(self, *layers: Mapping[str, Any], set_as: str | None = None) -> dict[str, Any]:
        """Check settings and fill in the defaults.

        Args:
            layers: values by name, later ones winning.
            set_as: how a setting without a default is given, for messages; None: as the kind's commands take it.

        Raises:
            SettingError: naming the plugin, the key and the known keys, or the one that has no default.
        """
        from ctseg.settings import resolve

        where, listed_by = f"{words(self.kind)} {self.name}", f"ctseg plugins show {self.name}"
        how = SET_AS.get(self.kind, "").replace("NAME", self.name) if set_as is None else set_as
        return resolve(self.settings_model(), *layers, where=where, listed_by=listed_by, set_as=how).model_dump()

    def build(self, *layers: Mapping[str, Any], set_as: str | None = None) -> Any:
        """Make the object from settings merged over the defaults.

        Args:
            layers: as `resolve` takes them.
            set_as: as `resolve` takes it.

        Raises:
            PluginError: if the plugin cannot make it.
            SettingError: as `resolve`.
        """
        values = self.resolve(*layers, set_as=set_as)
        try:
            return self.outside_call(self.factory, **values)
        except ImportError as error:
            raise PluginError(f"{self.who}: {error}; install what it needs") from error

    def extractor(self, *layers: Mapping[str, Any]) -> Any:
        """As `build`, for a brain extractor; one of another package is called within bounds, wherever that happens."""
        from ctseg.plugins.called import OutsideExtractor

        made = self.build(*layers)
        if self.package == "ctseg":
            return made
        return OutsideExtractor(made, self.who, (self.name, self.package, self.version))

    @property
    def who(self) -> str:
        """`brain extractor soft of ctseg-soft 0.1.0`."""
        return f"{words(self.kind)} {self.name} of {self.package} {self.version}"

    def outside_call(self, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Call a function of the plugin's: what another package raises is one line that names it.

        Raises:
            PluginError: unless the package is ctseg.
        """
        from ctseg.plugins.called import call_of

        with call_of(self.package, self.who):
            return function(*given, **named)


def _ways_out(owner: str, rivals: list[str]) -> str:
    """How one of the packages keeps a name; ctseg its own."""
    listed, it = ",".join(rivals), "it" if len(rivals) == 1 else "them"
    if owner != "ctseg" and len(rivals) == 1:
        off = f"CTSEG_DISABLE_PLUGINS={owner} or CTSEG_DISABLE_PLUGINS={listed}"
        return f"uninstall one of them, or leave it out with {off}"
    which = " and ".join(rivals) if owner == "ctseg" else "all but one"
    return f"uninstall {which}, or leave {it} out with CTSEG_DISABLE_PLUGINS={listed}"


def normal_name(package: str) -> str:
    """A package's name as PyPI compares names: `Ctseg_Odd` is `ctseg-odd`."""
    return re.sub(r"[-_.]+", "-", package.strip()).lower()


def words(kind: str) -> str:
    """`similarity metric` for `similarity_metric`."""
    return kind.replace("_", " ")
