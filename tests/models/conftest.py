"""Three places for models: the package, the user's folder, a plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ctseg.cli import common
from ctseg.models import register_folder
from ctseg.plugins.hookspecs import CONTRACT, hookimpl
from ctseg.plugins.host import Registry, load


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory, a user and a package without models."""
    monkeypatch.setattr(common, "STATE", common.State())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CTSEG_MODELS", str(tmp_path / "mine"))
    monkeypatch.setattr("ctseg.models.SHIPPED", tmp_path / "package")
    (tmp_path / "mine").mkdir()
    (tmp_path / "package").mkdir()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Where the package's models lie."""
    return tmp_path / "package"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The user's folder."""
    return tmp_path / "mine"


@pytest.fixture
def plugged(tmp_path: Path) -> Callable[..., Registry]:
    """A plugin host with a plugin `ctseg-basal` that registers a folder, which becomes that of this process."""

    def run(folder: Path) -> Registry:
        module = ModuleType("basal")
        module.CTSEG_CONTRACT = CONTRACT  # type: ignore[attr-defined]
        hook = hookimpl(lambda register: register_folder(register, folder))
        module.ctseg_register_models = hook  # type: ignore[attr-defined]
        point = SimpleNamespace(load=lambda: module, name="basal")
        common.STATE.registry = load(found=[(point, SimpleNamespace(name="ctseg-basal", version="1.2"))])  # type: ignore[list-item]
        return common.STATE.registry

    return run
