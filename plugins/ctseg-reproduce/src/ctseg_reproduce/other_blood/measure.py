"""Measure `segment --other-blood` on held-out phantom patients: `python -m ctseg_reproduce.other_blood.measure WORK`.

The patients are those of `ctseg phantom --seed 3000` to `3004` (test split), made again with the masks of every kind.
None of them was trained on or looked at before the weights and their settings were fixed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import InputError
from ctseg.files import read_json, write_json
from ctseg.inference.kind_slices import KINDS
from ctseg.io.stack import Grid
from ctseg.io.volume import Volume
from ctseg.phantom.bleeds import KINDS as FINDINGS
from ctseg_reproduce.other_blood.figures import Scan, by_scan, lines
from ctseg_reproduce.other_blood.patients import MATRIX, held_out_case, kept_scan

SEEDS = (3000, 3001, 3002, 3003, 3004)
PATIENTS = 12
"""Of each cohort: one round of its case mix."""
FINDING = dict(zip(KINDS.values(), FINDINGS[1:], strict=True))
"""Kind -> what the phantom calls it."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """One patient."""

    name: str
    truth_ml: dict[str, float]
    """Of each kind, and of IPH."""
    found_ml: dict[str, float]
    both_ml: dict[str, float]
    """Of each kind, where it is and was found as that kind; `any`: where any of them is and any was found."""
    called_ml: dict[str, dict[str, float]]
    """True kind -> what it was called -> mL; `none`, and `iph` for what the other model's mask has."""
    same_iph: bool | None = None
    """Whether the mask of IPH is that of a call without the option; looked at in one patient of each cohort."""

    @property
    def other_ml(self) -> float:
        """True blood of all kinds but IPH."""
        return sum(self.truth_ml[kind] for kind in KINDS.values())

    @property
    def found_other_ml(self) -> float:
        """What was found of it, right or wrong."""
        return sum(self.found_ml.values())


def held_out(work: Path, seed: int, index: int, matrix: int = MATRIX) -> tuple[Volume, dict[str, Mask]]:
    """A held-out patient: the scan as it is read, and the true mask (K, h, w) of each finding; made once, in `work`."""
    return kept_scan(work / f"{seed}-{index:02d}", held_out_case(seed, index, matrix))


def measured(
    name: str, volume: Volume, truth: dict[str, Mask], kinds: NDArray[np.uint8], iph: Mask, same: bool | None
) -> Row:
    """Compare what was found in a scan with the truth.

    Args:
        name: of the patient.
        volume: the scan.
        truth: (K, h, w) of each of `FINDINGS`.
        kinds: (K, h, w) what was found.
        iph: (K, h, w) the other model's mask.
        same: whether that mask is that of a call without the option.
    """
    ml = Grid.of(volume).volume_ml
    found = {kind: kinds == value for value, kind in KINDS.items()}
    called: dict[str, dict[str, float]] = {}
    for kind, finding in FINDING.items():
        there = truth[finding]
        called[kind] = {other: ml(there & mask) for other, mask in found.items()}
        called[kind] |= {"iph": ml(there & iph), "none": ml(there & (kinds == 0) & ~iph)}
    both = {kind: called[kind][kind] for kind in FINDING}
    any_truth = np.any([truth[finding] for finding in FINDING.values()], axis=0)
    both["any"] = ml(any_truth & (kinds > 0))
    amounts = {kind: ml(truth[finding]) for kind, finding in (FINDING | {"iph": FINDINGS[0]}).items()}
    return Row(name, amounts, {kind: ml(mask) for kind, mask in found.items()}, both, called, same)


def measure(work: Path, seeds: Sequence[int], patients: int, **settings: Any) -> list[Row]:
    """Segment every held-out patient with the shipped models; rows that are in `work` are read back."""
    from ctseg.api import find_models, load_for_segment
    from ctseg.inference.predict import predict_ready
    from ctseg.inference.prepare import prepare_volume
    from ctseg.inference.settings import SegmentSettings

    resolved = SegmentSettings(other_blood=True, **settings)
    groups, extractor = load_for_segment(find_models(None), "cpu", other_blood=True)
    plain, _ = load_for_segment(find_models(None), "cpu")
    rows: list[Row] = []
    for seed, index in product(seeds, range(patients)):
        volume, truth = held_out(work, seed, index)
        ready = prepare_volume(volume, [group.preprocessing for group in groups], extractor)
        found = predict_ready(ready, groups, resolved)
        if found.other_blood is None:
            raise InputError("the network for other blood was not loaded")
        same = None
        if not index:
            alone = replace(ready, prepared=ready.prepared[: len(plain)])
            same = bool(np.array_equal(found.mask, predict_ready(alone, plain, SegmentSettings(**settings)).mask))
        rows.append(measured(f"{seed}-{index:02d}", volume, truth, found.other_blood.kinds, found.mask, same))
        sys.stderr.write(f"{rows[-1].name}: {rows[-1].other_ml:.1f} mL, found {rows[-1].found_other_ml:.1f} mL\n")
    return rows


def labelled_scans(cohort: Path, masks: Path) -> list[Scan]:
    """The scans of a phantom cohort that `ctseg segment --other-blood` wrote into `masks`, by their slice labels.

    Raises:
        InputError: if the segmentation was made without the option.
    """
    with (cohort / "truth" / "cases.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["case"]: row for row in csv.DictReader(file)}
    found = []
    for row in read_json(masks / "volumes.json")["cases"]:
        if row["other_ml"] is None:
            raise InputError(f"{masks}: was made without --other-blood")
        case = truth[row["case"]]
        kinds = tuple(kind for kind, finding in FINDING.items() if int(case[f"{finding}_slices"]))
        found.append(Scan(row["case"], kinds, int(case["intraparenchymal_slices"]) > 0, row["other_ml"]))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for the patients and the rows")
    parser.add_argument(
        "--scans",
        nargs=2,
        type=Path,
        action="append",
        metavar=("COHORT", "MASKS"),
        help="show instead whole scans of a cohort of `ctseg phantom`, as segmented into MASKS",
    )
    parser.add_argument("--seed", type=int, action="append", help="of a cohort; repeat for more")
    parser.add_argument("--patients", type=int, default=PATIENTS, help="of each cohort")
    parser.add_argument("--again", action="store_true", help="measure again; otherwise rows in WORK are shown")
    options = parser.parse_args(arguments)
    if options.scans:
        found = [scan for cohort, masks in options.scans for scan in labelled_scans(cohort, masks)]
        sys.stdout.write("\n".join(by_scan(found)) + "\n")
        return
    path = options.work / "rows.json"
    options.work.mkdir(parents=True, exist_ok=True)
    if options.again or not path.exists():
        write_json(path, [asdict(row) for row in measure(options.work, options.seed or SEEDS, options.patients)])
    sys.stdout.write("\n".join(lines([Row(**row) for row in read_json(path)])) + "\n")


if __name__ == "__main__":
    main()
