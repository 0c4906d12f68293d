"""How much of each bleed of the phantom's patients after trauma a model segments, contusions apart from the others.

`python tests/benchmarks/contusion_sensitivity.py OUT.csv [SEED ...]` makes the test patients after trauma of cohorts of
24 (seeds 3000 to 3004, none of them in any training), segments them by the default model, and writes a row a bleed:
its true mL and HU, and the share of its voxels that are segmented; the same of its faint voxels, of those at the
brain's edge and of the others. It goes on with the patients that are missing. `... OUT.csv --table` prints the tables
of docs/default-model.md of ctseg-reproduce.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ctseg.api import find_models, load_for_segment
from ctseg.inference.models import ModelGroup
from ctseg.inference.predict import predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.phantom import cohort, ct_scan, rsna
from ctseg.phantom.ct_physics import sharpen_twice
from ctseg.phantom.ct_scan import Frames, mask_level
from ctseg.phantom.fitting import largest_piece
from ctseg.phantom.parts import Part
from ctseg.phantom.rsna import CtCase
from ctseg.phantom.settings import PhantomSettings
from ctseg.plugins.protocols import BrainExtractor

PLACES = ("faint", "edge", "other")
COLUMNS = (
    "seed", "index", "shape", "ml", "hu", "found", "brain_hu",
    *(f"{place}_{what}" for place in PLACES for what in ("ml", "found")),
)  # fmt: skip
FAINT_HU, EDGE_MM = 5.0, 4.0
"""Faint: less than so many HU above the brain's median. At the edge: not faint, and nearer than that to the outside."""
SIZES = (0.0, 0.5, 2.0, 100.0)
Mask = NDArray[np.bool_]


def patients(seed: int) -> Iterator[CtCase]:
    """The test patients after trauma who have bleeds in the brain's tissue."""
    settings = PhantomSettings(mr_patients=0, ct_train_patients=0, ct_test_patients=24, seed=seed)
    for job in cohort._jobs(Path(), settings):
        if isinstance(job.case, CtCase) and job.case.findings.trauma and job.case.findings.iph:
            yield job.case


def scanned(case: CtCase) -> tuple[rsna.Volume, list[tuple[Part, Mask]]]:
    """A patient's scan, as `ctseg phantom` makes it, and the mask of each bleed of the brain's tissue."""
    placed: list[tuple[Part, int]] = []
    frames_seen: list[Frames] = []
    volumes: list[rsna.Volume] = []
    put, made = ct_scan._add_part, rsna._volume

    def noted(frames: Frames, part: Part, pieces: list[ct_scan.Any]) -> None:
        before = len(frames.placed)
        put(frames, part, pieces)
        frames_seen[:] = [frames]
        placed.extend((part, number) for number in range(before, len(frames.placed)))

    def kept(*given: ct_scan.Any) -> rsna.Volume:
        volumes.append(made(*given))
        return volumes[-1]

    with (
        patch.object(ct_scan, "_add_part", noted), patch.object(rsna, "_volume", kept),
        patch.object(rsna, "_write_dicom"), patch.object(rsna, "save_mask"),
    ):  # fmt: skip
        rsna.make_ct_case(Path(), case)
    shape = volumes[0].voxels.shape
    return volumes[0], [(part, _mask(frames_seen[0], number, shape)) for part, number in placed if _is_iph(part)]


def _is_iph(part: Part) -> bool:
    return part.kind == "intraparenchymal"


def _mask(frames: Frames, number: int, shape: tuple[int, ...]) -> Mask:
    """(K, H, W) of one bleed."""
    kind, _, (slices, rows, columns), cover = frames.placed[number]
    whole = np.zeros(shape, dtype=bool)
    box = slices, slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop)
    whole[box] = largest_piece(sharpen_twice(cover) > mask_level(kind))
    return whole


def rows(case: CtCase, groups: Sequence[ModelGroup], extractor: BrainExtractor) -> list[tuple[object, ...]]:
    """A row a bleed of one patient."""
    volume, bleeds = scanned(case)
    found = predict_volume(volume, groups, SegmentSettings(), extractor)
    brain_hu = float(np.median(volume.voxels[found.brain]))
    inside_mm = [distance_transform_edt(each, sampling=volume.spacing_mm) for each in found.brain]
    faint = volume.voxels < brain_hu + FAINT_HU
    edge = (np.asarray(inside_mm) < EDGE_MM) & ~faint
    return [
        (
            case.seed[0], case.index, type(part.shape).__name__, f"{mask.sum() * volume.voxel_ml[0]:.3f}",
            f"{volume.voxels[mask].mean():.1f}", f"{found.mask[mask].mean():.4f}", f"{brain_hu:.1f}",
            *(text for place in (faint, edge, ~faint & ~edge) for text in _part(mask & place, found.mask, volume)),
        )
        for part, mask in bleeds if mask.any()
    ]  # fmt: skip


def _part(voxels: Mask, segmented: Mask, volume: rsna.Volume) -> tuple[str, str]:
    """The mL of some voxels, and the share of them that is segmented."""
    share = segmented[voxels].mean() if voxels.any() else 0.0
    return f"{voxels.sum() * volume.voxel_ml[0]:.3f}", f"{share:.4f}"


def table(path: Path) -> str:
    """Bleeds found and share of their voxels, by shape and size."""
    data = pd.read_csv(path)
    data["size"] = pd.cut(data["ml"], SIZES, right=False)
    data["both"] = data["ml"] * data["found"]
    heads = ("bleeds", "mL", "number", "found", "share of their voxels", "HU above the brain, median")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for shape, of_shape in data.groupby("shape"):
        for size, some in [*of_shape.groupby("size", observed=True), ("all", of_shape)]:
            name = size if isinstance(size, str) else f"{size.left:g} to {size.right:g}"
            share, above = some["both"].sum() / some["ml"].sum(), (some["hu"] - some["brain_hu"]).median()
            hit = (some["found"] > 0).mean()
            lines.append(f"| {shape} | {name} | {len(some)} | {hit:.2f} | {share:.2f} | {above:.0f} |")
    return "\n".join([*lines, "", *_places(data)])


def _places(data: pd.DataFrame) -> list[str]:
    """How much of the blood is faint or at the brain's edge, and how much of it is segmented there."""
    lines = ["| bleeds | voxels | share of all | segmented |", "|---" * 4 + "|"]
    for shape, of_shape in data.groupby("shape"):
        for place in PLACES:
            ml = of_shape[f"{place}_ml"]
            found = (ml * of_shape[f"{place}_found"]).sum() / ml.sum()
            lines.append(f"| {shape} | {place} | {ml.sum() / of_shape['ml'].sum():.2f} | {found:.2f} |")
    return lines


def main() -> None:
    """Measure, or print the table."""
    path, *rest = sys.argv[1:]
    if rest == ["--table"]:
        sys.stdout.write(table(Path(path)) + "\n")
        return
    torch.set_num_threads(1)
    groups, extractor = load_for_segment(find_models(None), "cpu")
    done = {tuple(pair) for pair in pd.read_csv(path)[["seed", "index"]].to_numpy()} if Path(path).exists() else set()
    for seed in map(int, rest or range(3000, 3005)):
        for case in patients(seed):
            if (seed, case.index) in done:
                continue
            measured = rows(case, groups, extractor)
            with Path(path).open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if file.tell() == 0:
                    writer.writerow(COLUMNS)
                writer.writerows(measured)
            sys.stderr.write(f"{seed} {case.index}: {len(measured)} bleeds\n")


if __name__ == "__main__":
    main()
