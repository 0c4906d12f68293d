"""What a plugin registers: a name, and how the object behind it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctseg.errors import PluginError

if TYPE_CHECKING:
    from ctseg.settings import Settings


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

    def settings_model(self) -> type[Settings]:
        """The typed settings; an entry without any takes none.

        Raises:
            PluginError: if the plugin gives no class of settings.
        """
        from ctseg.settings import Settings

        if self.settings is None:
            return Settings
        found: Any = self.settings if isinstance(self.settings, type) else self.outside_call(self.settings)
        if not (isinstance(found, type) and issubclass(found, Settings)):
            name = found.__name__ if isinstance(found, type) else f"its settings, a {type(found).__name__},"
            raise PluginError(f"{self.who}: {name} must be a subclass of ctseg.settings.Settings")
        return found

    def resolve(self, *layers: Mapping[str, Any]) -> dict[str, Any]:
        """Check settings and fill in the defaults.

        Raises:
            SettingError: naming the plugin, the key and the known keys.
        """
        from ctseg.settings import resolve

        where, listed_by = f"{words(self.kind)} {self.name}", f"ctseg plugins show {self.name}"
        return resolve(self.settings_model(), *layers, where=where, listed_by=listed_by).model_dump()

    def build(self, *layers: Mapping[str, Any]) -> Any:
        """Make the object from settings merged over the defaults.

        Raises:
            PluginError: if the plugin cannot make it.
            SettingError: as `resolve`.
        """
        values = self.resolve(*layers)
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


def words(kind: str) -> str:
    """`similarity metric` for `similarity_metric`."""
    return kind.replace("_", " ")
