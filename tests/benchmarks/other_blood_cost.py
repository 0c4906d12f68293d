"""What `segment --other-blood` adds to a scan, in CPU seconds on one core, for several networks in turn.

    python tests/benchmarks/other_blood_cost.py SCAN WEIGHTS [WEIGHTS ...]

Rounds are interleaved, so that a busy machine slows all alike; the networks take the rules of this version.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

from ctseg.api import find_models, load_for_segment
from ctseg.inference.models import load_other_blood, with_other_blood
from ctseg.inference.other_blood import find_other_blood
from ctseg.inference.predict import predict_ready
from ctseg.inference.prepare import prepare_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.models import ModelSource
from ctseg.settings import resolve

ROUNDS = 7


def main(scan: str, *weights: str) -> None:
    """Print a line for the scan without the option, and one for each network."""
    torch.set_num_threads(1)
    [case] = discover([Path(scan)], "ct", workers=1).cases
    groups, extractor = load_for_segment(find_models(None), "cpu")
    settings = resolve(SegmentSettings, {})
    joined = {path: with_other_blood(groups, load_other_blood(ModelSource(Path(path)), "cpu")) for path in weights}
    spent: dict[str, list[float]] = {"read, prepare, IPH": [], **{path: [] for path in weights}}
    for _ in range(ROUNDS):
        started = time.process_time()
        volume = read_case(case)
        ready = prepare_volume(volume, [group.preprocessing for group in groups], extractor)
        iph = predict_ready(ready, groups, settings).mask
        spent["read, prepare, IPH"].append(time.process_time() - started)
        for path, all_groups in joined.items():
            started = time.process_time()
            find_other_blood(ready, all_groups, settings, iph)
            spent[path].append(time.process_time() - started)
    sys.stdout.write(f"{len(volume.z_mm)} slices, {ROUNDS} rounds\n")
    for name, seconds in spent.items():
        sys.stdout.write(f"{name}: {statistics.median(seconds):.2f} CPU s ({min(seconds):.2f} to {max(seconds):.2f})\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
