"""What a help page does not need is imported when it is: of typer and rich, more than half of what they would import.

Nothing is printed or refused otherwise: each placeholder becomes the real thing as soon as it is used. Where another
typer has no such parts, they are left as they are.
"""

from __future__ import annotations

import gc
import sys
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

LATER = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
"""Modules that `typer.rich_utils` imports for what ctseg's help has nowhere, and the class it takes from each."""


def quicken(*, helps: bool) -> None:
    """Make typer ready for use without pydantic, and where it `helps`, its help without Markdown and tracebacks."""
    gc.disable()  # until `begun`: a tenth of the time goes into looking for garbage where there is none
    _coerce_later()
    _read_signatures_once()
    if helps:
        _import_help()


def begun(*, is_help: bool = False) -> None:
    """The command begins: from here on memory is looked after as ever, unless it only prints help and ends."""
    if not is_help:
        gc.enable()


class _Later:
    """A parameter's coercion, built when there is a value: what a call leaves out is None and stays so."""

    def __init__(self, build: Any) -> None:
        self.build = build

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """As typer's own, which makes a pydantic adapter first."""
        if value is None and not param.multiple and param.nargs != -1:
            return None
        return self.build(param).coerce(value, param=param, ctx=ctx)


def _coerce_later() -> None:
    from typer import core

    owner: Any = getattr(core, "_TyperParameter", None)
    build = getattr(owner, "get_runtime_param", None)
    if build is not None and not getattr(build, "is_later", False):

        def get_runtime_param(_parameter: Any) -> _Later:
            return _Later(build)

        get_runtime_param.is_later = True  # type: ignore[attr-defined]
        owner.get_runtime_param = get_runtime_param


def _read_signatures_once() -> None:
    """Typer reads each command's signature for its parameters, and once more for their names."""
    main: Any = import_module("typer.main")

    read = getattr(main, "get_params_from_function", None)
    if read is not None and not hasattr(read, "cache_info"):
        main.get_params_from_function = lru_cache(256)(read)


def listed(app: Any) -> Any:
    """The application for its own help page: of each command its name and what it says of itself, no parameter."""
    for info in app.registered_commands:
        callback, info.name = info.callback, info.name or info.callback.__name__.replace("_", "-")
        info.callback = _only_described(callback)
    return app


def _only_described(callback: Any) -> Any:
    def command() -> None:
        """Replaced."""

    command.__doc__ = callback.__doc__
    return command


def _placeholder(module: str, name: str) -> ModuleType:
    """A module with a class that becomes the real one at the first use."""

    class Meta(type):
        def __getattr__(cls, attribute: str) -> Any:
            return getattr(getattr(import_module(module), name), attribute)

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return getattr(import_module(module), name)(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, getattr(import_module(module), name))

    found = ModuleType(module)
    setattr(found, name, Meta(name, (), {}))
    return found


def _import_help() -> None:
    """Import typer's help pages while the placeholders are there; who else imports these modules gets the real ones."""
    if "typer.rich_utils" in sys.modules:
        return
    missing = {module: _placeholder(module, name) for module, name in LATER.items() if module not in sys.modules}
    sys.modules.update(missing)
    try:
        import_module("typer.rich_utils")
    except ImportError:  # typer without rich prints plain help
        return
    finally:
        for module in missing:
            del sys.modules[module]
