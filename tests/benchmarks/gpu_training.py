"""Where a training's time goes: loading against the rest, waits for the device, and the kernels that take longest.

`python tests/benchmarks/gpu_training.py --mr sets/mr --ct sets/ct --out training.json` trains both stages for three
epochs of a few steps on slices that are read from disk, enlarged to the size asked for: the first epoch warms up, the
second is timed, the third is watched by torch.profiler. Each is done as it is and with recorded steps, and once with
the first batch in place of all others, which says what loading adds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from ctseg_reproduce.scales import GPU
from gpu_timings import guarded
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import ctseg.segmentation.train as adaptation
import ctseg.synthesis.train as synthesis
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import SliceSet, open_slices
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.generator import AmdGenerator
from ctseg.runs import ModelHeader
from ctseg.settings import resolve
from ctseg.training import presets
from ctseg.training.device import make_fabric
from ctseg.training.graphs import SWITCH
from ctseg.training.settings import AdaptationSettings, SynthesisSettings

SLICES, EPOCHS, PROFILED = 400, 3, 5
WATCHED = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMemcpyAsync", "cudaLaunchKernel", "cudaGraphLaunch",
           "aten::_local_scalar_dense")  # fmt: skip
"""Calls that are counted; the first two and the last wait for the device."""


def enlarged(folder: Path, out: Path, size: int) -> SliceSet:
    """Some training slices of a set, each pixel repeated until they have `size` rows and columns, on disk."""
    slices = open_slices(folder)
    rows = slices.rows("train")[:SLICES]
    places = np.arange(size) * slices.size[0] // size

    def grow(array: Any) -> Any:
        return None if array is None else np.asarray(array[rows])[:, places][:, :, places]

    out.mkdir()
    write_slices(
        out, domain=slices.domain, images=grow(slices.images), masks=grow(slices.masks),
        table=slices.table.iloc[rows].reset_index(drop=True), intensity=slices.info["intensity"], settings={},
    )  # fmt: skip
    return open_slices(out)


class Watch:
    """Times the second epoch of a training and profiles the first steps of the third."""

    def __init__(self, steps: int, cuda: bool) -> None:
        self.steps, self.cuda = steps, cuda
        self.seconds, self.loading = 0.0, 0.0
        self.profile: dict[str, Any] = {}
        self._running: profile | None = None

    def epoch(self, run: Callable[[], Any], epoch: int) -> Any:
        """One epoch."""
        if epoch == 1:
            self.loading = 0.0
        if epoch == EPOCHS - 1:
            self._running = profile(activities=[ProfilerActivity.CUDA if self.cuda else ProfilerActivity.CPU])
            self._running.start()
        started = time.perf_counter()
        row = run()
        self._wait()
        if epoch == 1:
            self.seconds = (time.perf_counter() - started) / self.steps
            self.loading /= self.steps
        return row

    def progress(self, done: int, _total: int | None, _note: str) -> None:
        """Ends the profile after some steps."""
        if self._running is not None and done == (EPOCHS - 1) * self.steps + min(PROFILED, self.steps):
            self._wait()
            self._running.stop()
            self.profile = summary(self._running, min(PROFILED, self.steps))
            self._running = None

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def timed(self, load: Callable[..., Any], epoch_of: Callable[..., int]) -> Callable[..., Any]:
        """A function that loads, its seconds of the second epoch added up."""

        def call(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            loaded = load(*given, **named)
            if epoch_of() == 1:
                self.loading += time.perf_counter() - started
            return loaded

        return call

    def result(self) -> dict[str, Any]:
        """Per step."""
        return {
            "seconds": self.seconds, "loading_seconds": self.loading,
            "loading_share": round(self.loading / self.seconds, 4), **self.profile,
        }  # fmt: skip


def summary(watched: Any, steps: int) -> dict[str, Any]:
    """Counts of calls, the device's busy time and the dearest kernels, per step."""
    events = watched.key_averages()
    kernels = [item for item in events if item.device_type == DeviceType.CUDA and not item.is_user_annotation]
    kernels.sort(key=lambda item: -item.self_device_time_total)
    counts = {name: sum(item.count for item in events if item.key == name) / steps for name in WATCHED}
    return {
        "calls": counts,
        "device_ms": round(sum(item.self_device_time_total for item in kernels) / steps / 1000, 3),
        "kernels": [[item.key[:90], round(item.self_device_time_total / steps / 1000, 3), item.count / steps]
                    for item in kernels[:25]],
    }  # fmt: skip


@contextmanager
def replaced(module: Any, **functions: Any) -> Iterator[None]:
    """Functions of a module are others within the block."""
    before = {name: getattr(module, name) for name in functions}
    for name, function in functions.items():
        setattr(module, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(module, name, function)


def kept(load: Callable[..., Any]) -> Callable[..., Any]:
    """The first result for ever."""
    first: list[Any] = []

    def call(*given: Any, **named: Any) -> Any:
        if not first:
            first.append(load(*given, **named))
        return first[0]

    return call


def stage1(sets: tuple[SliceSet, SliceSet], given: argparse.Namespace, batch: int, loads: bool) -> dict[str, Any]:
    """Stage 1 at the widths of scale `gpu` (or of `smoke`)."""
    values = {name: value for name, value in presets.SYNTHESIS[given.preset].items() if "generator" not in name}
    schedule = {"batch_size": batch, "epochs": EPOCHS, "decay_epochs": 0, "steps_per_epoch": given.steps,
                "matched": False, "sample_every": 100, "audit_slices": 4}  # fmt: skip
    settings = resolve(SynthesisSettings, values, schedule)
    fabric = make_fabric(given.device, given.precision)
    generator = AmdGenerator(**presets.SYNTHESIS[given.preset]["generator_settings"])
    watch, now = Watch(given.steps, fabric.device.type == "cuda"), [0]
    train, load = synthesis._train_epoch, synthesis._batch

    def epoch(stage: Any, number: int, *rest: Any) -> Any:
        now[0] = number
        return watch.epoch(lambda: train(stage, number, *rest), number)

    loader = watch.timed(load if loads else kept(load), lambda: now[0])
    with TemporaryDirectory() as run, replaced(synthesis, _train_epoch=epoch, _batch=loader, _look=lambda *_: {}):
        synthesis.train_synthesis(
            *sets, None, generator, settings, Path(run), fabric=fabric, seed=0, resume=False,
            header=ModelHeader("generator", "amd", {}, "ctseg", "0"), progress=watch.progress,
        )  # fmt: skip
    return watch.result()


def stage2(sets: tuple[SliceSet, SliceSet], given: argparse.Namespace, batch: int, loads: bool) -> dict[str, Any]:
    """Stage 2, as `stage1`."""
    values = {name: value for name, value in presets.ADAPTATION[given.preset].items() if "segmenter" not in name}
    schedule = {"batch_size": batch, "epochs": EPOCHS, "decay_epochs": 0, "steps_per_epoch": given.steps,
                "matched": False, "selection": "last", "recalibrate_batch_norm": 0, "sample_every": 100,
                "freeze_batch_norm_from": 0, "validate_every": 100, "select_from": 0}  # fmt: skip
    settings = resolve(AdaptationSettings, values, schedule)
    fabric = make_fabric(given.device, given.precision)
    network = FcnVgg16(**presets.ADAPTATION[given.preset]["segmenter_settings"])
    watch, now = Watch(given.steps, fabric.device.type == "cuda"), [0]
    train, source, target = adaptation.train_epoch, adaptation.source_batch, adaptation.to_images

    def epoch(training: Any, data: Any, number: int, *rest: Any) -> Any:
        now[0] = number
        return watch.epoch(lambda: train(training, data, number, *rest), number)

    loaders = {
        "source_batch": watch.timed(source if loads else kept(source), lambda: now[0]),
        "to_images": watch.timed(target if loads else kept(target), lambda: now[0]),
    }
    with TemporaryDirectory() as run, replaced(adaptation, train_epoch=epoch, **loaders):
        adaptation.train_adaptation(
            *sets, None, network, settings, Path(run), fabric=fabric, seed=0,
            header=ModelHeader("segmenter", "fcn", {}, "ctseg", "0"), progress=watch.progress,
        )  # fmt: skip
    return watch.result()


def runs() -> Iterator[tuple[str, Callable[..., dict[str, Any]], int, str, bool]]:
    """Name, stage, batch, whether it is recorded and whether slices are loaded; the most telling first."""
    for switch, loads in (("1", True), ("0", True), ("1", False), ("0", False)):
        for stage, batch in ((stage1, 4), (stage2, 12)):
            way = "recorded" if switch == "1" else "as it is"
            name = f"{stage.__name__}, batch {batch}, {way}, {'slices loaded' if loads else 'first batch kept'}"
            yield name, stage, batch, switch, loads


def main(words: list[str] | None = None) -> None:
    """Measure all that there is time for, and write it as JSON after each."""
    parser = argparse.ArgumentParser()
    for name, kind, default in (("mr", Path, None), ("ct", Path, None), ("out", Path, None), ("seconds", float, 600.0),
                                ("size", int, GPU.size), ("steps", int, 20), ("device", str, "cuda"),
                                ("precision", str, "bf16"), ("preset", str, GPU.preset)):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default, required=default is None)
    given = parser.parse_args(words)
    until = time.monotonic() + given.seconds
    found: dict[str, Any] = {"torch": torch.__version__, "steps": given.steps, "size": given.size, "left_out": []}
    with TemporaryDirectory() as folder:
        sets = tuple(enlarged(path, Path(folder) / path.name, given.size) for path in (given.mr, given.ct))
        for name, stage, batch, switch, loads in runs():
            if time.monotonic() > until:
                found["left_out"].append(name)
            else:
                os.environ[SWITCH] = switch
                started = time.monotonic()
                found[name] = guarded(lambda stage=stage, batch=batch, loads=loads: stage(sets, given, batch, loads))  # type: ignore[misc]
                sys.stderr.write(f"{name}: {str(found[name])[:300]} ({time.monotonic() - started:.1f} s)\n")
            given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
