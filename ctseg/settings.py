"""Typed settings: pydantic models that refuse unknown keys and list the known ones.

`Settings` is the base of every group of settings, built-in or a plugin's own; `resolve` lays a preset and `--set
key=value` over the defaults, in that order, and turns every fault into one line.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ctseg.errors import SettingError, unknown_name

LARGEST = (1 << 63) - 1
"""Whole numbers beyond it fit into nothing that counts with them (arrays, seeds, JSON of other programs)."""


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys are errors, defaults are checked too, and numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # type checkers know the fields

        def __init__(self, /, **values: Any) -> None:
            """Take values by name; a wrong one is a SettingError, as in every command."""
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise SettingError(f"{type(self).__name__}: {explain(error, type(self))}") from None

        __init__.__pydantic_base_init__ = True  # tables within others are made without it, so that their keys are named

    @field_validator("*", mode="after")
    @classmethod
    def _no_larger(cls, value: Any) -> Any:
        values = value if isinstance(value, tuple | list) else (value,)
        if any(isinstance(item, int) and abs(item) > LARGEST for item in values):
            raise ValueError(f"it should be at most {LARGEST}")
        return value


S = TypeVar("S", bound=Settings)
LONGEST_SHOWN = 80
"""Letters of a refused value that a message shows."""


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


def resolve(
    model: type[S], *layers: Mapping[str, Any], where: str = "settings", listed_by: str = "", set_as: str = ""
) -> S:
    """Lay `layers` over the defaults of `model`, later ones winning.

    Args:
        model: the settings.
        layers: values by name; tables are merged.
        where: whose settings, for messages.
        listed_by: the command that lists them, for messages.
        set_as: how one that has no default is given, as `--set {}=VALUE`, for messages.

    Raises:
        SettingError: one line that names the key, what is wrong and, for an unknown key, the known ones.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values = merge(values, layer)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingError(f"{where}: {explain(error, model, listed_by, set_as)}") from None


def explain(error: ValidationError, model: type[BaseModel], listed_by: str = "", set_as: str = "") -> str:
    """The first fault of a pydantic error as one line; a long list of known settings is left to `listed_by`."""
    fault = error.errors()[0]
    if fault["type"] == "missing":
        return _without_default([".".join(map(str, item["loc"])) for item in error.errors()], set_as)
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return unknown_name("setting", key, sorted(model.model_fields), listed_by)
    message = str(fault["msg"]).removeprefix("Value error, ").replace("Input should be", "it should be")
    if not key:  # a check of several settings at once: its own words say which, and its input is all of them
        return message
    return f"{key}={_shown(fault.get('input'))}: {message}"


def _without_default(names: Sequence[str], set_as: str) -> str:
    """Which settings have to be given, and how."""
    listed = ", ".join(map(repr, names))
    how = f"; add {' '.join(set_as.format(name) for name in names)}" if set_as else ""
    return f"setting {listed} has no default{how}" if len(names) == 1 else f"settings {listed} have no default{how}"


def _shown(value: Any) -> str:
    """A value in a message, of at most `LONGEST_SHOWN` letters."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def unit(name: str) -> dict[str, Any]:
    """The unit of a setting, for `Field(json_schema_extra=...)`; `UNIT_SUFFIXES` of a name say it without."""
    return {"unit": name}


UNIT_SUFFIXES = {"_mm": "mm", "_mm2": "mm2", "_ml": "mL", "_hu": "HU", "_deg": "degrees"}


@dataclass(frozen=True)
class Described:
    """What there is to know of a setting."""

    name: str
    type: str
    """In words: `whole number`, `true or false`, `one of a, b`."""
    default: Any
    """As JSON has it: lists for tuples, None where there is none."""
    bounds: str
    """In words: `4 to 512`, `above 0`; empty where any value of the type will do."""
    unit: str
    meaning: str
    required: bool = False
    """Whether it has no default, so that it has to be given."""

    @property
    def default_text(self) -> str:
        """The default as `--set` takes it; `VALUE` where there is none to be had."""
        return "VALUE" if self.required else value_text(self.default)


def describe(model: type[BaseModel]) -> list[Described]:
    """Every setting of a model in order, in words, for people and for `--json`."""
    found = model.model_json_schema(mode="serialization").get("properties", {})
    return [_described(name, found[name], info.is_required()) for name, info in model.model_fields.items()]


def _described(name: str, schema: Mapping[str, Any], required: bool) -> Described:
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    whole = {**kinds[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
    return Described(
        name, _type_text(whole), schema.get("default", {} if whole.get("type") == "object" else None),
        _bounds_text(whole), _unit_text(name, schema), str(schema.get("description", "")), required,
    )  # fmt: skip


TYPES = {
    "integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "object": "table",
}  # fmt: skip


def _type_text(schema: Mapping[str, Any]) -> str:
    """A JSON schema's type in words."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if schema.get("type") != "array":
        return TYPES.get(str(schema.get("type")), "any")
    parts = schema.get("prefixItems")
    if parts:
        return f"{len(parts)} {_type_text(parts[0])}s"
    return f"list of {_type_text(schema.get('items', {}))}s"


def _unit_text(name: str, schema: Mapping[str, Any]) -> str:
    known = next((text for suffix, text in UNIT_SUFFIXES.items() if name.endswith(suffix)), "")
    return str(schema.get("unit", known))


def _bounds_text(schema: Mapping[str, Any]) -> str:
    """A JSON schema's bounds in words."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        words = [f"{low:g} to {high:g}"]
    else:
        pairs = (("above", above), ("at least", low), ("below", below), ("at most", high))
        words = [f"{word} {value:g}" for word, value in pairs if value is not None]
    step = schema.get("multipleOf")
    return ", ".join([*words, *([f"a multiple of {step:g}"] if step is not None else [])])


def value_text(value: Any) -> str:
    """A value as `--set NAME=VALUE` takes it; a dash for none."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
