"""A training that is interrupted in the middle, for the tests that go on with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def stopping_after(loss_of: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """The loss, which raises `KeyboardInterrupt` once it was asked for so often."""
    seen = []

    def stopping(*arguments: Any) -> Any:
        seen.append(1)
        if len(seen) > calls:
            raise KeyboardInterrupt
        return loss_of(*arguments)

    return stopping
