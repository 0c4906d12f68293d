"""Makes plugins out of classes, and installed packages out of folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ctseg.conformance import Outcome, checks
from ctseg.plugins.hookspecs import CONTRACT, hookimpl
from ctseg.plugins.host import HOOKS, Registry, load
from ctseg.settings import Settings


def registry_of(kind: str, factory: Callable[..., Any], **given: Any) -> Registry:
    """A plugin host with one outside plugin called `planted`."""
    options = {"summary": "planted", "reference": "this test", "settings": Settings, **given}
    module = ModuleType("planted")
    module.CTSEG_CONTRACT = CONTRACT  # type: ignore[attr-defined]
    setattr(module, HOOKS[kind], hookimpl(lambda register: register("planted", factory, **options)))
    point = SimpleNamespace(load=lambda: module, name="planted")
    return load(found=[(point, SimpleNamespace(name="planted", version="1.0"))])  # type: ignore[list-item]


@pytest.fixture(scope="session")
def find_fault() -> Callable[..., Outcome]:
    """Run one check, by name, on a plugin made of a factory."""

    def run(kind: str, check: str, factory: Callable[..., Any], **given: Any) -> Outcome:
        bound = checks(kind, "planted", registry=registry_of(kind, factory, **given))
        return next(item for item in bound if item.__name__ == check).run()

    return run


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a folder of modules an installed package, for this process and those it starts."""

    def run(source: Path, package: str, module: str, version: str = "0.1.0") -> None:
        info = source / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[ctseg]\nplugin = {module}\n")
        monkeypatch.syspath_prepend(source)
        monkeypatch.setenv("PYTHONPATH", str(source))

    return run
