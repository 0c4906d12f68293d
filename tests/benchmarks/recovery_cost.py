"""CPU seconds of `segment --recovery` on one scan, with and without its faint haematomas, one thread, in turn.

`python tests/benchmarks/recovery_cost.py SCAN` prints a line each; the numbers are in docs/recovery.md.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from ctseg.api import find_models, load_for_segment
from ctseg.inference import recovery
from ctseg.inference.predict import predict_ready
from ctseg.inference.scans import ready_scan
from ctseg.inference.settings import SegmentSettings

ROUNDS = 3


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    settings = SegmentSettings(recovery=True)
    groups, extractor = load_for_segment(find_models(None), "cpu")
    ready = ready_scan(Path(sys.argv[1]), groups, extractor)
    started = time.process_time()
    mask = predict_ready(ready, groups, settings).mask
    sys.stdout.write(f"segmentation: {time.process_time() - started:.2f} s\n")
    seconds: dict[str, list[float]] = {"bright ones alone": [], "with faint ones": []}
    for _ in range(ROUNDS):
        for (name, found), run in zip(seconds.items(), ((), recovery.FAINT_RUN), strict=True):
            with patch.object(recovery, "FAINT_RUN", run):
                started = time.process_time()
                recovery.measure_recovery(ready, groups, settings, mask)
                found.append(time.process_time() - started)
            sys.stdout.write(f"{name}: {found[-1]:.2f} s\n")
    for name, found in seconds.items():
        sys.stdout.write(f"{name}, median: {np.median(found):.2f} s\n")


if __name__ == "__main__":
    main()
