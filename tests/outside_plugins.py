"""Plugins of another package, made in a test."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from ctseg.plugins.hookspecs import CONTRACT, hookimpl
from ctseg.plugins.host import HOOKS, Entry, load


def outside_entry(kind: str, factory: Callable[..., Any], name: str = "odd", **given: Any) -> Entry:
    """What `ctseg-odd` 0.3.1 registers."""
    module = ModuleType("ctseg_odd")
    module.CTSEG_CONTRACT = CONTRACT  # type: ignore[attr-defined]
    setattr(module, HOOKS[kind], hookimpl(lambda register: register(name, factory, **given)))
    package = SimpleNamespace(name="ctseg-odd", version="0.3.1", requires=())
    return load(found=[(SimpleNamespace(load=lambda: module, name="odd"), package)]).get(kind, name)  # type: ignore[list-item]
