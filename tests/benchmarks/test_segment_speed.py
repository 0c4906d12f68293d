"""`ctseg segment` from DICOM files to written masks, beside its network alone; and how long commands take to start."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from interleaved import Row, least_seconds
from test_reading_speed import head, write_series

from ctseg.api import load_for_segment
from ctseg.inference.scans import find_scans
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.networks.fcn import FcnVgg16
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model


def demo_model(folder: Path) -> Path:
    """An untrained FCN of the demo's width and size, whose probabilities lie around the threshold."""
    torch.manual_seed(0)
    settings = PreprocessSettings(size=96, fov_mm=240.0).model_dump(mode="json")
    header = ModelHeader("segmenter", "fcn", {"width": 16}, "ctseg", "0", input={"preprocess": settings})
    folder.mkdir()
    save_model(folder / "model.safetensors", FcnVgg16(16), header)
    return folder


def segment_rows(slices: int = 30, side: int = 512) -> list[Row]:
    """One scan, all files written, beside the network on its slices."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scan").mkdir()
        write_series(folder / "scan", head(slices, side))
        groups, extractor = load_for_segment([demo_model(folder / "run")], "cpu")
        module = groups[0].models[0].module
        images = torch.rand(slices, 1, 96, 96) * 2 - 1
        count = iter(range(1000))

        def whole() -> str:
            cases = find_scans([folder / "scan"]).cases  # type: ignore[union-attr]
            out = folder / f"out-{next(count)}"
            return segment_cases(cases, groups, out, SegmentSettings(threshold=0.45), extractor=extractor)[0].status

        def network() -> None:
            with torch.inference_mode():
                for start in range(0, slices, 8):
                    module(images[start : start + 8])

        spent, found = least_seconds({"ctseg segment, files written": whole, "its network alone": network})
        assert found["ctseg segment, files written"] == "ok"
    return [Row(f"segment a scan of {slices} slices of {side} x {side}, demo width", spent, "a part of it")]


def child_seconds(*command: str, environment: dict[str, str] | None = None) -> float:
    """CPU seconds of a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start_rows(rounds: int = 5) -> list[Row]:
    """Help beside the imports that no typer command with rich can do without; all modules compiled, as pip does."""
    bare = [sys.executable, "-c", "import typer, rich.console, rich.table"]
    found = []
    with TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for name in ("--help", "segment --help", "plugins"):
            ours = [sys.executable, "-m", "ctseg", *name.split()]
            spent = {f"ctseg {name}": 9e9, "import typer, rich": 9e9}
            for counts in (False, *[True] * rounds):
                for key, command in zip(spent, (ours, bare), strict=True):
                    seconds = child_seconds(*command, environment=environment)
                    spent[key] = min(spent[key], seconds) if counts else spent[key]
            found.append(Row(f"start: `ctseg {name}`", spent, "a part of it"))
    return found


def rows() -> list[Row]:
    """All comparisons of this file."""
    return [*segment_rows(), *start_rows()]


@pytest.mark.slow
def test_a_scan_is_segmented() -> None:
    assert segment_rows(12, 96)[0].ratio > 0
