"""Device and precision of a training, and the group of its processes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from ctseg.errors import SettingError
from ctseg.training.device_names import PRECISIONS, check_device_name, check_precision_name

if TYPE_CHECKING:
    import lightning_fabric


def make_fabric(
    device: str = "auto", precision: str = "auto", devices: int = 1, seed: int = 0, machines: int = 0
) -> lightning_fabric.Fabric:
    """Choose device and precision, and seed torch so that networks made afterwards start alike.

    Args:
        device: 'auto' (a GPU where there is one, else the CPU), 'cpu', 'cuda', 'cuda:n' or 'mps'.
        precision: '32', 'bf16' (mixed), or 'auto': bf16 where the hardware computes in it.
        devices: processes on this machine, each with its own device. In a script of one's own, Fabric starts the
            others.
        seed: seeds torch's generators, which draw the first weights.
        machines: how many of them there are, where something else has started all the processes and set `RANK`,
            `WORLD_SIZE`, `LOCAL_RANK` and `MASTER_ADDR` in the environment, as `torchrun` does; 0: it has not.

    Raises:
        SettingError: if the device is unknown or not there, or the precision is unknown.
    """
    import lightning_fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    accelerator, chosen = _parse_device(device, devices)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    kind: Any = _parse_precision(precision, accelerator)
    together = devices > 1 or machines > 0
    environment: Any = TorchElasticEnvironment() if machines else LightningEnvironment()
    fabric = lightning_fabric.Fabric(
        accelerator=accelerator, devices=chosen, num_nodes=machines or 1, precision=kind,
        strategy="ddp" if together else "auto", plugins=[environment],
    )  # fmt: skip
    fabric.launch()
    torch.manual_seed(seed)
    return fabric


def torch_device(device: str = "auto") -> torch.device:
    """The one device that a name means, for networks that are only run: `make_fabric` without all that trains.

    Raises:
        SettingError: if the device is unknown or not there.
    """
    kind, chosen = _parse_device(device, 1)
    return torch.device(kind) if kind == "cpu" else torch.device(kind, chosen[0] if isinstance(chosen, list) else 0)


def _parse_device(device: str, devices: int) -> tuple[str, Any]:
    kind, _, number = device.partition(":")
    if device in ("auto", "auto:"):
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    _check_device(device, kind, number)
    if number and devices > 1:
        raise SettingError(f"--device {device}: names one device, but --devices is {devices}; use --device {kind}")
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise SettingError(f"--devices {devices}: this machine has {torch.cuda.device_count()} GPUs; use at most these")
    if kind == "mps" and devices > 1:
        raise SettingError(f"--devices {devices}: a Mac has one device; leave it out")
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
    (tests/benchmarks/test_step_speed.py).
    """
    if accelerator == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return accelerator == "cpu" and has_amx is not None and bool(has_amx())
