"""Where the CPU seconds and the memory of `ctseg segment` go, and of what else beside it, on the same scans in turn.

    python tests/benchmarks/segment_stages.py SCANS                                  # this checkout
    python tests/benchmarks/segment_stages.py SCANS --beside /path/of/another/checkout
    python tests/benchmarks/segment_stages.py SCANS --set engine=ncnn

Two ways are compared: this checkout with its usual settings, or another checkout's (`--beside`), and this checkout with
the settings of `--set`. Each round runs both, each in a process of its own with one thread; the table has the least
seconds of a stage, a scan. A stage does not contain those that it calls. Masks and pictures are compared byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

STAGES = {
    "find": "scans.find_scans", "read": "prepare.read_case", "is it a head": "prepare.check_head",
    "digest of the input": "prepare.input_digest", "slices": "prepare.prepare_ct",
    "network": "predict._probabilities", "back to the scan's pixels, members": "predict.native_probability",
    "drop faint": "predict.drop_faint", "measures": "predict.measure", "expected Dice": "predict.expected_dice",
    "out-of-distribution flags": "predict._ood", "SEG": "outputs.write_dicom_objects",
    "previews": "outputs.write_pictures", "mask": "outputs.save_mask",
}  # fmt: skip
"""Name -> function, where it is looked up in `ctseg.inference`."""
SCRIPT = Path(__file__).resolve()
ROOT = SCRIPT.parents[2]


class Clock:
    """CPU seconds by stage, each without the stages within it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.open: list[str] = []
        self.since = time.process_time()

    def switch(self) -> None:
        """Credit the time since the last switch to the stage that is open."""
        now = time.process_time()
        self.seconds[self.open[-1] if self.open else "rest"] += now - self.since
        self.since = now

    def timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, its time noted."""

        def run(*args: Any, **more: Any) -> Any:
            self.switch()
            self.open.append(stage)
            try:
                return work(*args, **more)
            finally:
                self.switch()
                self.open.pop()

        return run


def child(scans: Path, out: Path, overrides: list[str]) -> None:
    """Segment in this process and print the seconds of each stage, a scan, and the peak of memory as JSON."""
    import torch

    torch.set_num_threads(1)
    from ctseg.api import find_models, load_for_segment
    from ctseg.inference import scans as scans_module
    from ctseg.inference.segment import segment_cases
    from ctseg.inference.settings import SegmentSettings
    from ctseg.settings import parse_overrides, resolve

    settings = resolve(SegmentSettings, parse_overrides(overrides))
    groups, extractor = load_for_segment(find_models("default"), "cpu")
    if overrides:
        from ctseg.inference.engines import in_engine

        groups = in_engine(groups, settings)
    cases = scans_module.find_scans([scans]).cases
    segment_cases(cases[:1], groups, out / "first", settings, extractor=extractor)  # imports, and memory layouts
    clock = Clock()
    for stage, place in STAGES.items():
        module, name = place.split(".")
        where = import_module(f"ctseg.inference.{module}")
        setattr(where, name, clock.timed(stage, getattr(where, name)))
    clock.since = time.process_time()
    cases = scans_module.find_scans([scans]).cases
    segment_cases(cases, groups, out / "all", settings, extractor=clock.timed("brain", extractor))
    clock.switch()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"stages": {k: v / len(cases) for k, v in clock.seconds.items()}, "MB": peak}))


def digests(folder: Path) -> dict[str, str]:
    """File -> SHA-256, without those that hold times."""
    files = (path for path in folder.rglob("*") if path.name.endswith((".nii.gz", ".png")))
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def measured(tree: Path, scans: Path, overrides: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """One process: its stages and the digests of its files."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with TemporaryDirectory() as name:
        call = [sys.executable, str(SCRIPT), str(scans), "--child", name, *(f"--set={item}" for item in overrides)]
        done = subprocess.run(call, check=True, stdout=subprocess.PIPE, env=environment, cwd=tree)
        return json.loads(done.stdout), digests(Path(name) / "all")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scans", type=Path)
    parser.add_argument("--beside", type=Path, default=ROOT)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", type=Path)
    given = parser.parse_args()
    if given.child:
        return child(given.scans, given.child, given.overrides)
    ways = {"first": (given.beside.resolve(), []), "second": (ROOT, given.overrides)}
    least: dict[str, dict[str, float]] = {way: {} for way in ways}
    totals, peaks, files = dict.fromkeys(ways, 9e9), dict.fromkeys(ways, 9e9), {}
    for _ in range(given.rounds):
        for way, (tree, overrides) in ways.items():
            found, files[way] = measured(tree, given.scans.resolve(), overrides)
            totals[way] = min(totals[way], sum(found["stages"].values()))
            peaks[way] = min(peaks[way], found["MB"])
            for stage, seconds in found["stages"].items():
                least[way][stage] = min(seconds, least[way].get(stage, 9e9))
    lines = [f"| {name} | {a:.3f} | {least['second'][name]:.3f} |" for name, a in least["first"].items()]
    lines.append(f"| all | {totals['first']:.2f} | {totals['second']:.2f} |")
    lines.append(f"| most memory, MB | {peaks['first']:.0f} | {peaks['second']:.0f} |")
    sys.stdout.write("| stage, CPU s a scan | first | second |\n|---|---|---|\n" + "\n".join(lines) + "\n")
    differ = [name for name, digest in files["first"].items() if files["second"].get(name) != digest]
    sys.stdout.write(f"{len(differ)} of {len(files['first'])} masks and pictures differ: {', '.join(differ[:5])}\n")
    return None


if __name__ == "__main__":
    main()
