"""Choose the rules that make a mask of probabilities: `python -m ctseg_reproduce.other_blood.choose WORK`.

They are chosen on phantom patients of `choosing_case`, whom no network was trained on, and on a real head without a
bleed; the held-out patients of `measure` are not looked at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctseg.files import read_json, write_json
from ctseg.harmless import markdown_row
from ctseg.io.input_digests import file_sha256
from ctseg.io.volume import Volume
from ctseg.phantom.bleeds import KINDS as FINDINGS
from ctseg.preprocess.grid import filled_box
from ctseg.settings import resolve
from ctseg_reproduce.other_blood.patients import CHOOSING_OF_HOSPITAL, CHOOSING_OF_MIX, choosing_case, kept_scan

if TYPE_CHECKING:
    from ctseg.inference.models import ModelGroup
    from ctseg.inference.prepare import ReadyCase

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)
SURE = (0.5, 0.7, 0.8, 0.9, 0.95)
SURE_ML = (0.03, 0.1, 0.3, 0.5, 1.0)
MIN_ML = (0.1, 0.3, 0.5, 1.0)
BONE_SHARE = (0.02, 0.05, 0.1, 0.2, 1.0)
AREAS = (0.0, 0.2, 0.4)
"""What is tried; see `ctseg.inference.other_blood`. Slices with less brain than an area's share of the largest are not
looked at."""
SPECIFICITY, REAL_ML = 0.9, 0.2
"""A rule is allowed from this share of the patients without other blood on that have none found, and up to so many mL
in the real head."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """How a mask is made of probabilities."""

    area: float
    threshold: float
    sure: float
    sure_ml: float
    min_ml: float
    bone_share: float = 1.0


@dataclass(frozen=True)
class Pieces:
    """The pieces of one scan at one threshold and least area."""

    area: float
    threshold: float
    ml: list[float]
    """(N,) of each piece."""
    sure_ml: list[list[float]]
    """(N, len(SURE)) of it with so high a probability."""
    true_ml: list[float]
    """(N,) of it that is other blood of any kind."""
    bone_ml: list[float]
    """(N,) of it that is as bright as bone."""


@dataclass(frozen=True)
class Case:
    """One scan."""

    name: str
    truth_ml: float
    """Other blood of all kinds."""
    pieces: list[Pieces]

    def found(self, rule: Rule) -> tuple[float, float]:
        """The mL that a rule keeps, and how much of them is right."""
        [pieces] = [each for each in self.pieces if (each.area, each.threshold) == (rule.area, rule.threshold)]
        if not pieces.ml:
            return 0.0, 0.0
        ml, sure = np.array(pieces.ml), np.array(pieces.sure_ml)[:, SURE.index(rule.sure)]
        kept = (ml >= rule.min_ml) & (sure >= rule.sure_ml) & (np.array(pieces.bone_ml) <= rule.bone_share * ml)
        return float(ml[kept].sum()), float(np.array(pieces.true_ml)[kept].sum())


@dataclass(frozen=True)
class Outcome:
    """What a rule gives."""

    rule: Rule
    dice: float
    """Pooled over the phantoms, all kinds as one."""
    sensitivity: float
    """Of scans with other blood, those in which any is found."""
    specificity: float
    real_ml: float
    """In the real head."""

    @property
    def allowed(self) -> bool:
        """Whether it leaves alone what shows no other blood."""
        return self.specificity >= SPECIFICITY and self.real_ml <= REAL_ML


def rules() -> Iterator[Rule]:
    """All that are tried."""
    for values in product(AREAS, THRESHOLDS, SURE, SURE_ML, MIN_ML, BONE_SHARE):
        rule = Rule(*values)
        if rule.sure >= rule.threshold and rule.sure_ml <= max(rule.min_ml, 0.3):
            yield rule


def outcome(rule: Rule, cases: Sequence[Case], real: Case | None) -> Outcome:
    """Apply a rule to all scans."""
    found, right = np.array([case.found(rule) for case in cases]).T
    truth = np.array([case.truth_ml for case in cases])
    there = truth > 0
    return Outcome(
        rule,
        float(2 * right.sum() / (truth.sum() + found.sum())),
        float((found[there] > 0).mean()),
        float((found[~there] == 0).mean()),
        real.found(rule)[0] if real else 0.0,
    )


def best(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Of the allowed rules the one with the highest Dice; that of the smallest area where the best need none."""
    return max((each for each in outcomes if each.allowed), key=lambda each: (each.dice, -each.rule.area), default=None)


def pieces_of(
    shares: NDArray[np.float32], ready: ReadyCase, group: ModelGroup, place: int, iph: Mask, truth: Mask
) -> list[Pieces]:
    """The pieces of a scan at every threshold and least area.

    Args:
        shares: (K, kinds, H, W) the network's probabilities.
        ready: the scan.
        group: that of the network.
        place: of that group's slices in `ready.prepared`.
        iph: (K, h, w) what the other models segmented.
        truth: (K, h, w) other blood.
    """
    from ctseg.inference.other_blood import BONE_HU, on_own_grid
    from ctseg.io.stack import Grid
    from ctseg.metrics.lesions import components

    prepared = ready.prepared[place]
    share, _ = on_own_grid(shares, group.preprocessing.pixel_mm, ready, prepared.frame)
    box = filled_box(ready.brain, (0, 0, 0))
    share, free, right, bone = share[box], ~iph[box], truth[box], ready.volume.voxels[box] > BONE_HU
    areas, voxel_ml = brain_areas(prepared.brain)[box[0]], Grid.of(ready.volume).voxel_ml[box[0]]
    found = []
    for area, threshold in product(AREAS, THRESHOLDS):
        numbers, count = components((share >= threshold) & free & (areas >= area)[:, None, None])
        at = np.nonzero(numbers)
        ml = partial(np.bincount, numbers[at] - 1, minlength=count)
        each, certainty = voxel_ml[at[0]], share[at]
        sure = np.stack([ml(each * (certainty >= level)) for level in SURE], axis=1)
        held = [ml(each), sure, ml(each * right[at]), ml(each * bone[at])]
        found.append(Pieces(area, threshold, *(values.tolist() for values in held)))
    return found


def brain_areas(brain: Mask) -> NDArray[np.float64]:
    """(K, H, W) brain -> (K,) area of each slice, as a share of the largest."""
    areas = np.count_nonzero(brain, axis=(1, 2))
    shares: NDArray[np.float64] = areas / max(1, areas.max(initial=0))
    return shares


def look_at(name: str, volume: Volume, truth: Mask, weights: Sequence[Path], work: Path) -> None:
    """Write the pieces of one scan for each file of weights, where they are missing."""
    from ctseg.api import find_models, load_for_segment
    from ctseg.inference.models import load_other_blood, with_other_blood
    from ctseg.inference.other_blood import kind_shares
    from ctseg.inference.predict import predict_ready
    from ctseg.inference.prepare import prepare_volume
    from ctseg.inference.settings import SegmentSettings
    from ctseg.io.stack import Grid
    from ctseg.models import ModelSource

    missing = [path for path in weights if not pieces_file(work, path, name).exists()]
    if not missing:
        return
    groups, extractor = load_for_segment(find_models(None), "cpu")
    joined = [with_other_blood(groups, load_other_blood(ModelSource(path), "cpu")) for path in missing]
    ready = prepare_volume(volume, [group.preprocessing for group in joined[0]], extractor)
    settings = resolve(SegmentSettings, {})
    iph = predict_ready(ready, groups, settings).mask
    for path, all_groups in zip(missing, joined, strict=True):
        for place, group in enumerate(all_groups):
            if group.other_blood is not None:
                shares = kind_shares(ready.prepared[place].images, volume.z_mm, group.other_blood, settings)
                pieces = pieces_of(shares, ready, group, place, iph, truth)
        case = Case(name, Grid.of(volume).volume_ml(truth), pieces)
        pieces_file(work, path, name).parent.mkdir(parents=True, exist_ok=True)
        write_json(pieces_file(work, path, name), asdict(case))


def pieces_file(work: Path, weights: Path, name: str) -> Path:
    """Where the pieces of a scan are kept, by the weights' digest."""
    return work / f"pieces-{file_sha256(weights)[:12]}" / f"{name}.json"


def read_case_file(path: Path) -> Case:
    """Read the pieces of a scan back."""
    stored = read_json(path)
    return Case(stored["name"], stored["truth_ml"], [Pieces(**each) for each in stored["pieces"]])


def phantom(work: Path, index: int) -> tuple[Volume, Mask]:
    """A patient that rules are chosen on, and all of its other blood."""
    volume, masks = kept_scan(work / f"{index:02d}", choosing_case(index))
    return volume, np.any([masks[finding] for finding in FINDINGS[1:]], axis=0)


def head(folder: Path) -> tuple[Volume, Mask]:
    """A real head without a bleed."""
    from ctseg.io.discover import discover, read_case

    [found] = discover([folder], "ct", workers=1).cases
    volume = read_case(found)
    return volume, np.zeros(volume.voxels.shape, bool)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The best allowed rule of each threshold and least area, and the best of all."""
    rows = [
        [
            "least area",
            "threshold",
            "sure",
            "sure mL",
            "least mL",
            "bone",
            "Dice",
            "sensitivity",
            "specificity",
            "real mL",
        ]
    ]
    groups = [[each for each in outcomes if (each.rule.area, each.rule.threshold) == key]
              for key in product(AREAS, THRESHOLDS)]  # fmt: skip
    for chosen in (*map(best, groups), best(outcomes)):
        if chosen is not None:
            numbers = (chosen.dice, chosen.sensitivity, chosen.specificity)
            rows.append([*(f"{value:g}" for value in asdict(chosen.rule).values()), *(f"{n:.3f}" for n in numbers),
                         f"{chosen.real_ml:.2f}"])  # fmt: skip
    return [markdown_row(row) for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for the patients and their pieces")
    parser.add_argument("--weights", type=Path, action="append", required=True, help="repeat for more")
    parser.add_argument("--real", type=Path, help="a scan of a real head without a bleed")
    parser.add_argument("--patients", type=int, default=len(CHOOSING_OF_MIX) + len(CHOOSING_OF_HOSPITAL))
    parser.add_argument("--every", type=int, nargs=2, default=(1, 0), metavar=("N", "I"), help="look at every Nth only")
    options = parser.parse_args(arguments)
    if options.real:
        look_at("real", *head(options.real), options.weights, options.work)
    for index in range(options.every[1], options.patients, options.every[0]):
        look_at(f"{index:02d}", *phantom(options.work, index), options.weights, options.work)
    if options.every[0] > 1:
        return
    for path in options.weights:
        cases = [read_case_file(pieces_file(options.work, path, f"{index:02d}")) for index in range(options.patients)]
        real = read_case_file(pieces_file(options.work, path, "real")) if options.real else None
        lines = table([outcome(rule, cases, real) for rule in rules()])
        sys.stdout.write("\n".join([f"{path.name}, {len(cases)} patients", "", *lines, "", ""]))


if __name__ == "__main__":
    main()
