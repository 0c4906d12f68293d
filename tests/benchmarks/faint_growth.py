"""What other thresholds of the default model bring, for all lesions or for faint ones alone; nothing of it is used.

`python tests/benchmarks/faint_growth.py phantoms OUT.csv SEED:PATIENTS ...` segments test patients of phantom cohorts
and writes mL by way; it goes on with what is missing. `... head SCAN` prints what is marked in a head without a bleed,
and Dice and volume of haematomas in it. The tables are in docs/default-model.md of ctseg-reproduce.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from contusion_sensitivity import scanned
from ctseg_reproduce.implant_grid import Cells, draw_places, group_apart
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.api import find_models, load_for_segment
from ctseg.implant.head import Head
from ctseg.implant.lay import VOLUME, Implant, add, implant_at
from ctseg.implant.wanted import Wanted
from ctseg.inference import recovery
from ctseg.inference.measure import components, drop_faint, drop_small, volume_ml
from ctseg.inference.models import ModelGroup
from ctseg.inference.predict import native_probability, with_card
from ctseg.inference.prepare import ReadyCase, prepare_volume
from ctseg.inference.scans import ready_scan
from ctseg.inference.settings import SegmentSettings
from ctseg.io.stack import Grid, Mask
from ctseg.phantom import cohort
from ctseg.phantom.rsna import CtCase
from ctseg.phantom.settings import PhantomSettings

Floats = NDArray[np.float32]
GROWTH: dict[str, tuple[float, float]] = {f"{t}, {hu} HU": (t, hu) for t in (0.3, 0.4) for hu in (14, 18, 22)}
"""Way -> threshold into which lesions grow that are less than so many HU above the brain's median."""
REACH_MM = 10.0
COLUMNS = ("seed", "index", "way", "true_ml", "ml", "both_ml", "contusion_ml", "contusion_both_ml")


def grown(likely: Floats, mask: Mask, hu: Floats, threshold: float, most_hu: float, spacing: Sequence[float]) -> Mask:
    """The mask with its faint lesions grown into connected voxels of the threshold that are nearest to them.

    Args:
        likely: (K, H, W) probabilities.
        mask: (K, H, W) at a threshold of 0.5.
        hu: (K, H, W) above the brain's median.
        threshold: of what they grow into.
        most_hu: mean below which a lesion is faint.
        spacing: mm.
    """
    numbers, count = components(mask)
    size = np.maximum(np.bincount(numbers[mask], minlength=count + 1), 1)
    faint = np.bincount(numbers[mask], hu[mask], minlength=count + 1) / size < most_hu
    faint[0] = False
    if not faint.any():
        return mask
    regions, _ = ndimage.label((likely >= threshold) | mask, structure=np.ones((3, 3, 3)))
    near = np.isin(regions, np.unique(regions[faint[numbers]])) & ~mask
    away, nearest = ndimage.distance_transform_edt(~mask, spacing, return_indices=True)
    found: Mask = mask | (near & faint[numbers[tuple(nearest)]] & (away <= REACH_MM))
    return found


def spacing_of(ready: ReadyCase) -> tuple[float, ...]:
    """Usual slice step and pixels in mm."""
    return float(np.median(ready.volume.slab_mm)), *ready.volume.spacing_mm


def ways(ready: ReadyCase, likely: Floats, settings: SegmentSettings) -> dict[str, Mask]:
    """The mask by each way."""

    def at(threshold: float) -> Mask:
        mask = drop_small(likely >= threshold, ready.volume, settings.min_lesion_ml)
        return drop_faint(mask, ready.volume, ready.brain, settings.faint_hu or 0.0)

    mask, hu = at(0.5), ready.volume.voxels - np.float32(np.median(ready.volume.voxels[ready.brain]))
    faint = {name: grown(likely, mask, hu, *rule, spacing_of(ready)) for name, rule in GROWTH.items()}
    return {"0.5": mask, "0.3": at(0.3), "0.4": at(0.4), **faint}


def patient(
    case: CtCase, groups: Sequence[ModelGroup], settings: SegmentSettings, extractor: object
) -> list[list[str]]:
    """A row a way."""
    volume, bleeds = scanned(case)
    ready = prepare_volume(volume, [group.preprocessing for group in groups], extractor)  # type: ignore[arg-type]
    likely, _ = native_probability(ready, groups, settings)
    truth, contusions = (np.zeros(likely.shape, dtype=bool) for _ in range(2))
    for part, mask in bleeds:
        truth |= mask
        contusions |= mask & (type(part.shape).__name__ == "Contusion")
    return [
        [str(case.seed[0]), str(case.index), way]
        + [f"{volume_ml(part, volume):.4f}" for part in (truth, mask, mask & truth, contusions, mask & contusions)]
        for way, mask in ways(ready, likely, settings).items()
    ]


def in_head(ready: ReadyCase, groups: Sequence[ModelGroup], settings: SegmentSettings, implants: Sequence[Implant],
            before: Mapping[str, Mask]) -> dict[str, list[tuple[float, float]]]:  # fmt: skip
    """By way, Dice and volume found over true of haematomas that lie apart."""
    slices = recovery.changed_slices(implants, len(ready.brain))
    likely, voxels = np.zeros(ready.brain.shape, dtype=np.float32), add(ready.volume.voxels, implants)
    _, likely[slices] = recovery.segment_changed(ready, groups, settings, implants, slices)
    hu, mask = voxels - np.float32(np.median(ready.volume.voxels[ready.brain])), likely >= 0.5
    masks = {"0.5": mask, "0.3": likely >= 0.3, "0.4": likely >= 0.4}
    masks |= {name: grown(likely, mask, hu, *rule, spacing_of(ready)) for name, rule in GROWTH.items()}
    found: dict[str, list[tuple[float, float]]] = {}
    for name, now in masks.items():
        new = now & ~before[name]
        measured = [recovery._measured(ready, implant, new, likely, new.copy()) for implant in implants]
        found[name] = [(item.dice, item.ml / item.implant.ml) for item in measured]
    return found


def head(scan: Path, groups: Sequence[ModelGroup], settings: SegmentSettings, extractor: object) -> None:
    """Print the false mL, and a line for each HU and mL of haematomas at seven places without oedema."""
    ready = ready_scan(scan, groups, extractor)  # type: ignore[arg-type]
    likely, _ = native_probability(ready, groups, settings)
    before = ways(ready, likely, settings)
    false = {name: round(volume_ml(mask, ready.volume), 3) for name, mask in before.items()}
    sys.stdout.write(f"false mL {false}\n")
    room = Head.of(ready.volume.voxels, Grid.of(ready.volume), ready.brain)
    places = draw_places(room, Cells(places=7))
    for hu, ml in ((hu, ml) for hu in (45, 48, 52, 60) for ml in (2.0, 5.0, 15.0, 40.0)):
        drawn = [
            (n, implant_at(room, np.random.default_rng((0, n, 1)), Wanted(kind, ml, hu, oedema_mm=0), place))
            for n, (kind, place) in enumerate(places)
        ]
        fitting = [(n, item) for n, item in drawn if item and VOLUME[0] <= item.ml / ml <= VOLUME[1]]
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in before}
        for together in group_apart(room, fitting):
            for name, found in in_head(ready, groups, settings, [item for _, item in together], before).items():
                rows[name] += found
        means = {name: tuple(np.mean(found, axis=0).round(3).tolist()) for name, found in rows.items()}
        sys.stdout.write(f"{hu} HU, {ml:g} mL: {means}\n")


def main() -> None:
    """Measure."""
    torch.set_num_threads(1)
    groups, extractor = load_for_segment(find_models(None), "cpu")
    settings = with_card(SegmentSettings(), groups)
    if sys.argv[1] == "head":
        head(Path(sys.argv[2]), groups, settings, extractor)
        return
    path = Path(sys.argv[2])
    done = {(row["seed"], row["index"]) for row in csv.DictReader(path.open())} if path.exists() else set()
    for seed, count in (map(int, part.split(":")) for part in sys.argv[3:]):
        patients = PhantomSettings(mr_patients=0, ct_train_patients=0, ct_test_patients=count, seed=seed)
        for job in cohort._jobs(Path(), patients):
            if (str(seed), str(job.case.index)) in done or not isinstance(job.case, CtCase):
                continue
            rows = patient(job.case, groups, settings, extractor)
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows if file.tell() else [COLUMNS, *rows])


if __name__ == "__main__":
    main()
