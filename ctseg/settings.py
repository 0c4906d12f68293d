"""Typed settings: pydantic models that refuse unknown keys and list the known ones.

`Settings` is the base of every group of settings, built-in or a plugin's own; `resolve` lays a preset and `--set
key=value` over the defaults, in that order, and turns every fault into one line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ctseg.errors import InputError, SettingError, unknown_name


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys are errors, defaults are checked too."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


S = TypeVar("S", bound=Settings)


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """`["lambda_ham=50", "name=x", "lesion.weight=1"]` -> a (nested) dict; values are read as TOML, else as plain text.

    Raises:
        SettingError: if a pair has no `=`.
    """
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"--set {pair}: expected key=value")
        node = result
        *parents, leaf = key.strip().split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = parse_value(text)
    return result


def parse_value(text: str) -> Any:
    """A TOML value (`1e-4`, `true`, `[1, 2]`, `"text"`), or the text itself where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` updated with `over`; tables are merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def resolve(model: type[S], *layers: Mapping[str, Any], where: str = "settings") -> S:
    """Lay `layers` over the defaults of `model`, later ones winning.

    Raises:
        SettingError: one line that names the key, what is wrong and, for an unknown key, the known ones.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values = merge(values, layer)
    try:
        return model(**values)
    except ValidationError as error:
        raise SettingError(f"{where}: {explain(error, model)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a pydantic error as one line."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return unknown_name("setting", key, sorted(model.model_fields))
    return f"{key}={fault.get('input')!r}: {fault['msg']}"


def describe(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """(name, type, default, help) of every setting, for `ctseg plugins show` and the docs."""
    rows = []
    for name, info in model.model_fields.items():
        kind = getattr(info.annotation, "__name__", str(info.annotation))
        bounds = ", ".join(str(item) for item in info.metadata)
        rows.append((name, kind, repr(info.default), "; ".join(filter(None, [info.description or "", bounds]))))
    return rows


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: if it is missing or broken, with the line.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None
