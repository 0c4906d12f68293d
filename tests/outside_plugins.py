"""Plugins of another package, made in a test."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from ctseg.plugins.hookspecs import CONTRACT, hookimpl
from ctseg.plugins.host import HOOKS, Entry, Registry, load


def outside_registry(*entries: Entry) -> Registry:
    """ctseg's own plugins and some of other packages."""
    registry = load(outside=False)
    for entry in entries:
        registry.add(entry)
    return registry


def outside_entry(
    kind: str, factory: Callable[..., Any], name: str = "odd", version: str = "0.3.1", **given: Any
) -> Entry:
    """What `ctseg-odd` registers."""
    module = ModuleType("ctseg_odd")
    module.CTSEG_CONTRACT = CONTRACT  # type: ignore[attr-defined]
    setattr(module, HOOKS[kind], hookimpl(lambda register: register(name, factory, **given)))
    package = SimpleNamespace(name="ctseg-odd", version=version, requires=())
    return load(found=[(SimpleNamespace(load=lambda: module, name="odd"), package)]).get(kind, name)  # type: ignore[list-item]
