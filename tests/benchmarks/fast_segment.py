"""What `ctseg segment --fast` saves and costs: CPU seconds by stage, and Dice, on the held-out scans of a phantom.

`python tests/benchmarks/fast_segment.py PHANTOM` prints Markdown: PHANTOM is a folder of `ctseg phantom`. Seconds are
CPU seconds of one thread, medians over the scans; every way to compute is timed on every scan in turn.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctseg.api import find_models, load_for_segment
from ctseg.inference.dicom_objects import write_dicom_objects
from ctseg.inference.engines import in_engine
from ctseg.inference.finish import seg_algorithm
from ctseg.inference.predict import predict_ready
from ctseg.inference.prepare import ReadyCase
from ctseg.inference.preview import write_pictures
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask, save_mask
from ctseg.preprocess.coarse import CoarseBrain
from ctseg.preprocess.ct import prepare_ct

CARD = SegmentSettings()
PLAIN = SegmentSettings(tta=False)
BF16 = SegmentSettings(tta=False, precision="bf16-mixed")
CARD_BF16 = SegmentSettings(precision="bf16-mixed")


def timed(spent: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    """Run some work and note its CPU seconds."""
    started = time.process_time()
    found = work()
    spent[name] = time.process_time() - started
    return found


def one_scan(case: Any, truth: np.ndarray, groups: Any, extractor: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Stage -> CPU seconds, and way -> Dice (nan where nothing is to be found)."""
    spent: dict[str, float] = {}
    scan = timed(spent, "read", lambda: read_case(case))
    brain = timed(spent, "brain", lambda: np.asarray(extractor(scan), bool))
    coarse = timed(spent, "brain, coarse", lambda: CoarseBrain(extractor)(scan))
    settings = groups[0].preprocessing
    ready, rough = (
        ReadyCase(scan, mask, (timed(spent, name, lambda mask=mask: prepare_ct(scan, settings, mask)),), 0.0)
        for mask, name in ((brain, "slices"), (coarse, "slices of the coarse brain"))
    )
    ncnn = in_engine(groups, SegmentSettings(engine="ncnn"))
    ways = {"network": (ready, CARD, groups), "network, engine=ncnn": (ready, CARD, ncnn)}
    ways |= {"network, bf16": (ready, CARD_BF16, groups), "network, --no-tta": (ready, PLAIN, groups)}
    ways |= {"network, --no-tta, engine=ncnn": (ready, PLAIN, ncnn), "network, --no-tta, bf16": (ready, BF16, groups)}
    ways |= {"network, coarse brain": (rough, CARD, groups)}
    ways |= {"network, coarse brain, --no-tta, bf16": (rough, BF16, groups)}
    dice, found = {}, None
    for name, (prepared, how, by) in ways.items():
        prediction = timed(spent, name, lambda a=prepared, b=how, c=by: predict_ready(a, c, b))
        found = found or prediction
        spent[f"{name}: voxels that differ"] = float((prediction.mask != found.mask).sum())
        both = prediction.mask.sum() + truth.sum()
        dice[name] = 2 * (prediction.mask & truth).sum() / both if truth.any() else float("nan")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed(spent, "previews", lambda: write_pictures(folder, "a", found, solid=True))
        made_by = seg_algorithm(groups, PLAIN)
        for what, how in (("SEG", PLAIN.model_copy(update={"resampled": False})), ("SEG and resampled SEG", PLAIN)):
            timed(spent, what, lambda how=how: write_dicom_objects(folder, "a", found, how, made_by))
        timed(spent, "mask", lambda: save_mask(folder / "a.nii.gz", scan, found.mask))
    return spent, dice


def main(phantom: Path) -> None:
    """Measure every held-out scan and print the tables."""
    torch.set_num_threads(1)
    groups, extractor = load_for_segment(find_models("default"), "cpu")
    cases = discover(phantom / "rsna" / "stage_2_test", "ct").cases
    rows = []
    for case in cases:
        truth = load_mask(phantom / "truth" / "iph" / "test" / f"{case.case_id}.nii.gz")[0] > 0
        rows.append(one_scan(case, truth, groups, extractor))
        sys.stderr.write(f"{case.case_id} done\n")
    print("| stage | CPU s |\n|---|---|")  # noqa: T201
    for name in rows[0][0]:
        amount = np.sum if name.endswith("differ") else np.median
        print(f"| {name} | {amount([spent[name] for spent, _ in rows]):.2f} |")  # noqa: T201
    print(f"\n| way | mean Dice of {sum(~np.isnan(d['network']) for _, d in rows)} scans |\n|---|---|")  # noqa: T201
    for name in rows[0][1]:
        print(f"| {name} | {np.nanmean([dice[name] for _, dice in rows]):.4f} |")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
