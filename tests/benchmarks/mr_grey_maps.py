"""What the grey map of CT does to a segmenter that was trained on MR: one network, the same slices, other greys.

    python tests/benchmarks/mr_grey_maps.py reproduction --seed 0

ROOT is a folder of `ctseg reproduce` with the rows `mr` and `location-prior` of the seed: the latter makes the labelled
test slices. Each line is the pooled Dice at the model's 96 x 96 pixels. The masks of the test slices measure it and
choose nothing: the maps named "label-free" are computed from brain voxels alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from ctseg.io.slices import SliceSet, open_slices
from ctseg.networks.intensity import to_images
from ctseg.plugins.host import load
from ctseg.runs import load_model

Slices = NDArray[np.uint8]
Bools = NDArray[np.bool_]
BATCH, RIM_PX = 64, 2
FACTORS = (1.25, 1.5, 1.75, 2.0, 2.5)
"""Of 0..100 HU: windows that end at 80, 67, 57, 50 and 40 HU."""


def mapped(images: Slices, gain: float, shift: float = 0.0) -> Slices:
    """`gain * grey + shift` in the brain, 1 to 255; the background stays 0."""
    return np.where(images > 0, np.clip(np.rint(images * gain + shift), 1, 255), 0).astype(np.uint8)


def maps(slices: SliceSet, target: Slices, source: Slices) -> Iterator[tuple[str, Slices]]:
    """The test slices under each map, with its name."""
    images = np.asarray(slices.images)
    ct, mr = (np.percentile(part[part > 0], [25, 50, 75]) for part in (target, source))
    gain = (mr[2] - mr[0]) / (ct[2] - ct[0])
    yield "0..100 HU, as the tables have it", images
    yield "label-free: median of MR's brain, a shift", mapped(images, 1.0, mr[1] - ct[1])
    yield "label-free: median and quartiles of MR's brain", mapped(images, gain, mr[1] - gain * ct[1])
    yield f"label-free: median of MR's brain, a factor ({mr[1] / ct[1]:.2f})", mapped(images, mr[1] / ct[1])
    yield "label-free: percentiles 0.5 to 99.5 of each scan, as MR is mapped", by_scan(slices)
    for factor in FACTORS:
        yield f"0..{100 / factor:.0f} HU (a factor of {factor})", mapped(images, factor)


def by_scan(slices: SliceSet) -> Slices:
    """Each scan's own percentiles of the brain to 0 and 255: what `preprocess` does to MR."""
    images, out = np.asarray(slices.images), np.zeros(slices.images.shape, np.uint8)
    scans = slices.table["series_id"].to_numpy(str)
    for scan in np.unique(scans):
        rows = np.flatnonzero(scans == scan)
        low, high = np.percentile(images[rows][images[rows] > 0], [0.5, 99.5])
        out[rows] = mapped(images[rows], 255 / (high - low), -255 * low / (high - low))
    return out


@torch.no_grad()
def segment(network: nn.Module, images: Slices) -> Bools:
    """(N, H, W) where the lesion's probability is at least 0.5."""
    parts = [network(to_images(images[k : k + BATCH])).logits[:, 0].numpy() >= 0 for k in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def scores(found: Bools, truth: Bools) -> str:
    """Dice, recall and precision over all pixels, and false pixels on a slice without a lesion."""
    both = np.count_nonzero(found & truth)
    dice, recall, precision = (
        100 * a / max(b, 1)
        for a, b in ((2 * both, found.sum() + truth.sum()), (both, truth.sum()), (both, found.sum()))
    )
    negative = ~truth.any(axis=(1, 2))
    return f"{dice:6.1f} {recall:7.1f} {precision:10.1f} {found[negative].sum() / negative.sum():8.2f}"


def main() -> None:
    parser: Any = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="another run than the row's own")
    args = parser.parse_args()
    torch.set_num_threads(1)
    run = args.run or args.root / f"rows/mr/seed-{args.seed}/run"
    network = load_model(run, load().build_from_header, "segmenter")[0].eval()
    slices = open_slices(args.root / f"labelled/seed-{args.seed}/ct-test")
    sets = args.root / f"data/seed-{args.seed}/sets"
    mr, target = open_slices(sets / "mr"), np.asarray(open_slices(sets / "ct").images)
    truth = slices.require_masks("they measure")[:] > 0
    say = sys.stdout.write
    say(f"{'map of CT':72s}   Dice  recall  precision  false px\n")
    for name, images in maps(slices, target, np.asarray(mr.images)[mr.rows("train")]):
        say(f"{name:72s} {scores(segment(network, images), truth)}\n")
    brain = np.asarray(slices.images) > 0
    inner = ndimage.binary_erosion(brain, np.ones((1, 3, 3)), iterations=RIM_PX)
    found = segment(network, np.asarray(slices.images))
    say(f"{f'0..100 HU, without the outer {RIM_PX} px of the brain':72s} {scores(found & inner, truth & inner)}\n")


if __name__ == "__main__":
    main()
