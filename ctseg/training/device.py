"""Device and precision of a training, and gradients over its processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import lightning_fabric
import torch
from torch import nn

from ctseg.errors import SettingError
from ctseg.training.device_names import PRECISIONS, check_device_name, check_precision_name


def make_fabric(
    device: str = "auto", precision: str = "auto", devices: int = 1, seed: int = 0
) -> lightning_fabric.Fabric:
    """Choose device and precision, and seed torch so that networks made afterwards start alike.

    Args:
        device: 'auto' (a GPU where there is one, else the CPU), 'cpu', 'cuda', 'cuda:n' or 'mps'.
        precision: '32', 'bf16' (mixed), or 'auto': bf16 where the hardware computes in it.
        devices: processes, each with its own device; more than one needs `torchrun` or Fabric's launcher.
        seed: seeds torch's generators, which draw the first weights.

    Raises:
        SettingError: if the device is unknown or not there, or the precision is unknown.
    """
    accelerator, chosen = _parse_device(device, devices)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    kind: Any = _parse_precision(precision, accelerator)
    strategy = "ddp" if devices > 1 else "auto"
    fabric = lightning_fabric.Fabric(accelerator=accelerator, devices=chosen, precision=kind, strategy=strategy)
    fabric.launch()
    torch.manual_seed(seed)
    return fabric


def _parse_device(device: str, devices: int) -> tuple[str, Any]:
    kind, _, number = device.partition(":")
    if device in ("auto", "auto:"):
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    _check_device(device, kind, number)
    if number and devices > 1:
        raise SettingError(f"--device {device}: names one device, but --devices is {devices}; use --device {kind}")
    return kind, [int(number)] if number else devices


def _check_device(device: str, kind: str, number: str) -> None:
    check_device_name(device)
    if not _is_there(kind, int(number or 0)):
        raise SettingError(f"--device {device}: not on this machine; use --device auto or cpu")


def _is_there(kind: str, number: int) -> bool:
    """Whether this machine has a device of the kind, for CUDA the one of that number."""
    if kind == "cuda":
        return torch.cuda.is_available() and number < torch.cuda.device_count()
    return kind == "cpu" or torch.backends.mps.is_available()


def _parse_precision(precision: str, accelerator: str) -> str:
    if precision == "auto":
        return "bf16-mixed" if has_fast_bf16(accelerator) else "32-true"
    check_precision_name(precision)
    return PRECISIONS[precision]


def has_fast_bf16(accelerator: str) -> bool:
    """Whether bfloat16 is the faster arithmetic here: NVIDIA from Ampere on (sm 80), CPUs with AMX.

    AVX512-BF16 without AMX is not enough: convolutions took 1.0 to 1.9 times as long as in float32 on such a CPU
    (tests/benchmarks/test_training_speed.py).
    """
    if accelerator == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return accelerator == "cpu" and has_amx is not None and bool(has_amx())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over the processes that train together; nothing to do for one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    for parameter in parameters:
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()
