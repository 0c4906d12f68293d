"""What torch holds for the whole process or for a thread, and a plugin may change: read and set without importing it.

Any of these changes what later networks compute, often with no word: threads and instruction sets the last digits of a
training, a precision or autocast more than those.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

State = tuple[str, Callable[[], Any], Callable[[Any], object]]
"""Its name, how it is read and how it is set; None is what cannot be read."""
DEVICES = ("cpu", "cuda")
SWITCHES = (
    "mkldnn.enabled", "cudnn.enabled", "cudnn.benchmark", "cudnn.deterministic", "cudnn.allow_tf32", "fp32_precision",
    "cudnn.fp32_precision", "cudnn.conv.fp32_precision", "cudnn.rnn.fp32_precision", "mkldnn.fp32_precision",
    "mkldnn.conv.fp32_precision", "mkldnn.rnn.fp32_precision",
)  # fmt: skip
"""Of `torch.backends`; older versions have the first five."""


def _state(name: str, default: Any, read: Callable[[Any], Any], write: Callable[[Any, Any], object]) -> State:
    """One state; `default` is its value where torch is not imported yet."""

    def reading() -> Any:
        torch = sys.modules.get("torch")
        try:
            return read(torch) if hasattr(torch, "get_default_dtype") else default
        except RuntimeError:  # torch refuses to name a precision that was set in two ways
            return None

    return name, reading, lambda value: write(sys.modules["torch"], value)


def _autocast(torch: Any) -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(device) for device in DEVICES)


def _set_autocast(torch: Any, values: tuple[bool, ...]) -> None:
    for device, value in zip(DEVICES, values, strict=True):
        torch.set_autocast_enabled(device, value)


def _switches(torch: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in SWITCHES:
        try:
            found[name] = operator.attrgetter(name)(torch.backends)
        except (AttributeError, RuntimeError):
            continue
    return found


def _set_switches(torch: Any, values: dict[str, Any]) -> None:
    now = _switches(torch)
    for name, value in values.items():
        if now.get(name) != value:
            holder, _, last = f"backends.{name}".rpartition(".")
            setattr(operator.attrgetter(holder)(torch), last, value)


OF_PROCESS: list[State] = [
    _state(
        "torch's default dtype",
        "float32",
        lambda torch: str(torch.get_default_dtype()).removeprefix("torch."),
        lambda torch, value: torch.set_default_dtype(getattr(torch, value)),
    ),
    _state("torch's threads", None, lambda torch: torch.get_num_threads(), lambda torch, n: torch.set_num_threads(n)),
    _state(
        "torch's precision",
        "highest",
        lambda torch: torch.get_float32_matmul_precision(),
        lambda torch, value: torch.set_float32_matmul_precision(value),
    ),
    _state(
        "torch's deterministic algorithms",
        False,
        lambda torch: torch.are_deterministic_algorithms_enabled(),
        lambda torch, value: torch.use_deterministic_algorithms(value),
    ),
    _state("torch.backends", None, _switches, _set_switches),
]
OF_THREAD: list[State] = [
    _state(
        "torch's gradients",
        True,
        lambda torch: torch.is_grad_enabled(),
        lambda torch, on: torch._C._set_grad_enabled(on),
    ),
    _state("torch's autocast", (False, False), _autocast, _set_autocast),
    _state(
        "torch's default device",
        "cpu",
        lambda torch: str(torch.get_default_device()),
        lambda torch, value: torch.set_default_device(None if value == "cpu" else value),
    ),
]
"""What each thread has for itself."""
