"""`ctseg doctor`: what this installation and machine have, with a self-test; fit to paste into a bug report."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ctseg.cli import common

LOW_DISK_GB = 5.0
"""A slice set of RSNA's training scans has more; a checkpoint of stage 1 about one."""
DECODERS = {
    "JPEG baseline, extended": "1.2.840.10008.1.2.4.50",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "RLE": "1.2.840.10008.1.2.5",
}
"""Transfer syntaxes in which head CT comes."""


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    part: str
    name: str
    value: str
    ok: bool = True


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("doctor")(doctor)


def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the self-test.")] = False,
    device: common.Device = "auto",
    as_json: common.AsJson = False,
) -> None:
    """Check this installation: versions, device, decoders, disk, plugins, and a self-test of about ten seconds.

    The output names no user, host, path or patient: paste it into a bug report. Exit code 1 if something is wrong.
    """
    lines = [*versions(), *machine(), *decoders(), *plugins()]
    lines += devices(device)
    if not quick:
        lines += self_test(device)
    wrong = [line for line in lines if not line.ok]
    if as_json:
        common.show(json.dumps({"ok": not wrong, "lines": [asdict(line) for line in lines]}))
    else:
        _print(lines)
        common.say("all well" if not wrong else f"{len(wrong)} of {len(lines)} are not well, marked with !")
    if wrong:
        raise typer.Exit(1)


def _print(lines: list[Line]) -> None:
    part = ""
    for line in lines:
        if line.part != part:
            part = line.part
            common.show(part)
        common.show(f" {' ' if line.ok else '!'} {line.name:<24} {line.value}")


def versions() -> list[Line]:
    """ctseg, Python, the system, and every package that ctseg needs."""
    from ctseg.version import __version__

    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    lines = [
        Line("versions", "ctseg", __version__),
        Line("versions", "Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Line("versions", "system", system),
    ]
    from importlib.metadata import requires

    return lines + [_package(needed) for needed in requires("ctseg") or [] if "extra ==" not in needed]


def _package(requirement: str) -> Line:
    """A package by its requirement, as `numpy>=2.0`."""
    import re
    from importlib.metadata import PackageNotFoundError, version

    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    try:
        return Line("versions", name, version(name))
    except PackageNotFoundError:
        return Line("versions", name, f"missing; needed: {requirement}", ok=False)


def machine() -> list[Line]:
    """Cores, memory, and the free space here and where temporary files go."""
    import tempfile

    lines = [Line("machine", "CPU cores", f"{_cores()} to use of {os.cpu_count()}")]
    memory = _memory_gb()
    lines += [Line("machine", "memory", f"{memory:.1f} GB")] if memory else []
    for name, place in (("disk here", Path()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free / 1e9
        low = free < LOW_DISK_GB
        lines.append(Line("machine", name, f"{free:.0f} GB free" + (", little" if low else ""), ok=not low))
    return lines


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


def decoders() -> list[Line]:
    """Whether each compressed form of DICOM can be read."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    lines = []
    for name, uid in DECODERS.items():
        decoder = get_decoder(UID(uid))
        found = ", ".join(sorted(decoder.available_plugins))
        lines.append(Line("DICOM decoders", name, found or "none; pip install ctseg again", ok=bool(found)))
    return lines


def plugins() -> list[Line]:
    """Every package with plugins, and those that are broken."""
    registry = common.registry()
    names: dict[str, list[str]] = {}
    for entry in (entry for entry in registry.entries.values() if not entry.clash):
        names.setdefault(f"{entry.package} {entry.version}", []).append(entry.name)
    lines = [Line("plugins", package, f"names: {len(found)}") for package, found in sorted(names.items())]
    lines += [Line("plugins", "two of one name", clash, ok=False) for clash in registry.clashes]
    lines += [Line("plugins", f"{item.package} {item.version}", item.error, ok=False) for item in registry.broken]
    lines += [Line("plugins", f"{old.package} {old.version}", f"deprecated: {old.note}") for old in registry.deprecated]
    return lines


def devices(device: str) -> list[Line]:
    """What torch computes on, and whether bfloat16 is fast there."""
    import torch

    from ctseg.training.device import has_fast_bf16, make_fabric

    chosen = make_fabric(device, "32").device
    lines = [Line("device", "chosen", str(chosen)), Line("device", "torch threads", str(torch.get_num_threads()))]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        what = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, sm {properties.major}{properties.minor}"
        lines.append(Line("device", f"cuda:{number}", what))
    if not torch.cuda.device_count():
        lines.append(Line("device", "CUDA", f"none; this torch is built for {torch.version.cuda or 'the CPU alone'}"))
    bf16 = "used by --precision auto" if has_fast_bf16(chosen.type) else "not faster here; --precision auto takes 32"
    return [*lines, Line("device", "bfloat16", bf16)]


def self_test(device: str) -> list[Line]:
    """Small jobs through the real functions, each timed."""
    tests: dict[str, Callable[[str], str]] = {
        "write and read": _files, "worker process": _worker, "network, one step": _step, "preprocess a head": _head,
    }  # fmt: skip
    return [_timed(name, test, device) for name, test in tests.items()]


def _timed(name: str, test: Callable[[str], str], device: str) -> Line:
    started = time.monotonic()
    try:
        said, ok = test(device), True
    except Exception as error:  # whatever it is, it is the finding
        said, ok = f"{type(error).__name__}: {_no_paths(str(error))}", False
    return Line("self-test", name, f"{said}, {time.monotonic() - started:.1f} s", ok)


def _no_paths(text: str) -> str:
    """A message without anything that looks like a path, for names of users and patients may be in one."""
    words = " ".join(text.split()).split(" ")
    return " ".join("PATH" if "/" in word or "\\" in word else word for word in words)[:200]


def _files(_device: str) -> str:
    """Write through the same functions as every command, and lock."""
    import tempfile

    from ctseg.files import write_text

    with tempfile.TemporaryDirectory() as folder:
        path = write_text(Path(folder) / "a.txt", "ctseg")
        if path.read_text(encoding="utf-8") != "ctseg":
            raise OSError("what was written is not what is read")
    return "as written"


def _worker(_device: str) -> str:
    """One spawned worker, as preprocessing has them."""
    from ctseg.parallel import Failure, ordered_map

    ((_, result),) = ordered_map(abs, [-7], workers=1)
    if isinstance(result, Failure) or result != 7:
        raise RuntimeError(getattr(result, "error", f"got {result}"))
    return "answers"


def _step(device: str) -> str:
    """One training step of a small segmenter: the loss falls and stays finite."""
    import torch

    from ctseg.training.device import make_fabric

    place = make_fabric(device, "32").device
    network = common.registry().get("segmenter", "fcn").build({"width": 4}).to(place)
    images, target = (torch.zeros(1, 1, 32, 32, device=place) for _ in range(2))
    images[:, :, 8:24, 8:24], target[:, :, 8:24, 8:24] = 1.0, 1.0
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(images).logits, target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    if not all(value < float("inf") for value in losses) or losses[-1] >= losses[0]:
        raise ArithmeticError(f"the loss went from {losses[0]:.3g} to {losses[-1]:.3g}")
    return f"loss {losses[0]:.2f} to {losses[-1]:.2f} on {place}"


def _head(_device: str) -> str:
    """A head made here through the HU check, brain extraction and slicing: its brain's volume is known."""
    import numpy as np

    from ctseg.io.hu_check import check_hu
    from ctseg.io.volume import Volume
    from ctseg.preprocess.cases import prepare
    from ctseg.preprocess.settings import PreprocessSettings
    from ctseg.settings import resolve

    z, y, x = np.indices((12, 96, 96), dtype=float)
    radius = np.sqrt(((y - 47.5) * 2) ** 2 + ((x - 47.5) * 2) ** 2 + ((z - 5.5) * 10) ** 2)
    rng = np.random.default_rng(0)
    hu = np.where(radius < 70, 33.0, np.where(radius < 80, 900.0, -1000.0)) + rng.normal(0, 4, radius.shape)
    origins = np.arange(12)[:, None] * np.array([0.0, 0.0, 10.0])
    volume = check_hu(
        Volume(hu.astype(np.float32), origins, np.array([0, 2.0, 0]), np.array([2.0, 0, 0]), "ct", "self-test", "self")
    )
    settings = resolve(PreprocessSettings, {"size": 96})
    extractor: Any = common.registry().get("brain_extractor", settings.brain_extractor).build({})
    prepared = prepare(volume, settings, extractor)
    found, true = float(np.dot(prepared.brain.sum(axis=(1, 2)), volume.voxel_ml)), float((radius < 70).sum() * 0.04)
    if not 0.5 < found / true < 1.1:
        raise ArithmeticError(f"brain of {found:.0f} mL where {true:.0f} mL were drawn")
    return f"brain {found:.0f} of {true:.0f} mL"
