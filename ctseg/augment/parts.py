"""The part of a drawn augmentation that belongs to some slices of the batch it was drawn for."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np

Drawn = TypeVar("Drawn")


def part_of(drawn: Drawn, rows: slice) -> Drawn:
    """What was drawn for the slices `rows` of a batch: applied to them alone, it does what the whole does to them.

    Args:
        drawn: an augmentation; every array in it has a row for each slice. One that keeps a seed instead, as noise
            does, has a method `part`.
        rows: with start and stop.
    """
    result: Any = drawn
    if hasattr(drawn, "part"):
        result = drawn.part(rows)
    elif isinstance(drawn, np.ndarray):
        result = drawn[rows]
    elif isinstance(drawn, tuple):
        result = tuple(part_of(item, rows) for item in drawn)
    elif is_dataclass(drawn) and not isinstance(drawn, type):
        result = replace(drawn, **{item.name: part_of(getattr(drawn, item.name), rows) for item in fields(drawn)})
    return cast(Drawn, result)
