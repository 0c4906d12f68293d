"""What the supervised row lacked: one thing changed at a time, then two, measured on the test patients' slices.

    python tests/benchmarks/supervised_bound.py reproduction cells.csv --device cuda --seeds 3

ROOT is a folder of `ctseg reproduce --scale cpu` in which the rows `supervised` and `location-prior` of the seeds were
made: they leave the labelled slices of training and test patients. Each line of the table is one training: pooled Dice,
recall and precision in % at 96 x 96 pixels and a probability of one half, and the Dice on its own training slices. With
`--scans` the mask goes back to the scans, too, as `segment` and `evaluate` do it. Test labels measure and choose
nothing. Cells that need more patients take them from the training patients of other seeds.

    python tests/benchmarks/supervised_bound.py reproduction cells.csv --cells 2160-balanced-patients-192 \
        --seeds 1 --tests 0 1 2 3 4 5 6 7 --patients patients.csv

measures each training on the test patients of several cohorts, a line each, and writes the voxels of every patient.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from ctseg.files import write_csv
from ctseg.inference.brain_cache import BrainMaskCache
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask
from ctseg.io.slices import open_slices
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.intensity import to_images
from ctseg.networks.unet import UNet
from ctseg.preprocess.brain import MuschelliExtractor
from ctseg.preprocess.frame import centred_frame
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.segmentation.steps import make_training
from ctseg.segmentation.train import TrainingData, train_epoch
from ctseg.settings import resolve
from ctseg.training.device import make_fabric
from ctseg.training.loop import Ticker
from ctseg.training.presets import ADAPTATION, PLUS_ALL
from ctseg.training.sampling import SliceSampler
from ctseg.training.settings import AdaptationSettings

Bytes = NDArray[np.uint8]
STEPS, EPOCHS, SIZE, FOV_MM = 540, 12, 96, 240.0
FCN = {"width": 16, "input_mean": 0.074, "input_std": 0.148}
APPEARANCE = {
    name: PLUS_ALL[name]
    for name in ("brightness", "brightness_shift", "contrast", "bias_field", "noise", "rotation_deg", "zoom")
}
CALIBRATED = {"brightness": 0.0, "brightness_shift": 0.05}
DEFAULT_MODEL = {
    **APPEARANCE, "brightness_shift": 0.03, "loss": "bce+dice+slice-dice", "recalibrate_batch_norm": 0, "lr": 0.002,
    "batch_size": 16, "distractors": 0.25,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One way to train; the defaults are the row's."""

    steps: int = STEPS
    cohorts: int = 1
    """Whose training patients it has, 24 each, its own first."""
    test_mix: bool = False
    """The test patients of the next cohort in place of its own training patients: larger bleeds."""
    network: str = "fcn16"
    grey: float = 1.0
    """Factor on grey values: 2 is a window of 0 to 50 HU."""
    own_brain: bool = False
    """Every scan's median brain at 31 HU."""
    settings: dict[str, Any] = field(default_factory=dict)


BALANCED = {"lesion_share": 0.5}
CELLS = {
    "base": Cell(),
    "balanced": Cell(settings=BALANCED),
    "patients-96": Cell(cohorts=4),
    "test-mix": Cell(test_mix=True),
    "batch-48": Cell(settings={"batch_size": 48}),
    "bce": Cell(settings={"loss": "bce"}),
    "slice-dice": Cell(settings={"loss": "bce+dice+slice-dice"}),
    "appearance": Cell(settings=APPEARANCE),
    "calibrated": Cell(settings=CALIBRATED),
    "own-brain": Cell(own_brain=True),
    "0-50-HU": Cell(grey=2.0),
    "0-80-HU": Cell(grey=1.25),
    "lr-0.001": Cell(settings={"lr": 1e-3}),
    "no-recalibration": Cell(settings={"recalibrate_batch_norm": 0}),
    "fcn-32": Cell(network="fcn32"),
    "unet": Cell(network="unet"),
    "unet-16": Cell(network="unet16"),
    "2160": Cell(4 * STEPS),
    "2160-balanced": Cell(4 * STEPS, settings=BALANCED),
    "2160-patients-96": Cell(4 * STEPS, 4),
    "2160-unet": Cell(4 * STEPS, network="unet"),
    "2160-unet-balanced": Cell(4 * STEPS, network="unet", settings=BALANCED),
    "2160-unet-patients-96": Cell(4 * STEPS, 4, network="unet"),
    "2160-balanced-patients-192": Cell(4 * STEPS, 8, settings=BALANCED),
    "6480-balanced": Cell(12 * STEPS, settings=BALANCED),
    "6480-patients-96": Cell(12 * STEPS, 4),
    "6480-unet": Cell(12 * STEPS, network="unet"),
    "6480-unet-patients-96": Cell(12 * STEPS, 4, network="unet"),
    "3996-unet-patients-96-default-model": Cell(3996, 4, network="unet", own_brain=True, settings=DEFAULT_MODEL),
}


@dataclass(frozen=True)
class Slices:
    """A labelled set in memory, as a training reads it."""

    images: Bytes
    masks: Bytes
    cases: NDArray[np.str_]
    index: NDArray[np.int64]
    """Of the slice in its scan."""

    def require_masks(self, _why: str) -> Bytes:
        """(N, H, W) 0/1."""
        return self.masks


def read(folder: Path) -> Slices:
    """A labelled slice set."""
    found = open_slices(folder)
    table, masks = found.table, np.array(found.require_masks("they are trained on, or measure")[:])
    return Slices(np.array(found.images), masks, table["case_id"].to_numpy(str), table["index"].to_numpy(np.int64))


def training_slices(root: Path, cell: Cell, seed: int) -> Slices:
    """The slices that a cell is trained on; no patient of its own test is among them."""
    if cell.test_mix:
        return read(root / f"labelled/seed-{seed + 1}/ct-test")
    known = sorted(int(path.name.removeprefix("seed-")) for path in (root / "labelled-train").glob("seed-*"))
    others = [number for number in known if number != seed][: cell.cohorts - 1]
    parts = [read(root / f"labelled-train/seed-{number}/ct-train") for number in (seed, *others)]
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "masks", "cases", "index")]
    return Slices(*joined)


def mapped(slices: Slices, cell: Cell) -> Slices:
    """The cell's map of greys."""
    grey = slices.images.astype(np.float32) * cell.grey
    if cell.own_brain:
        for case in np.unique(slices.cases):
            rows = np.flatnonzero(slices.cases == case)
            grey[rows] += 31 * 2.55 - np.median(grey[rows][grey[rows] > 0])
    images = np.where(slices.images > 0, np.clip(np.rint(grey), 1, 255), 0).astype(np.uint8)
    return replace(slices, images=images)


def make_network(name: str) -> nn.Module:
    """With first weights from torch's current seed."""
    if name.startswith("fcn"):
        return FcnVgg16(**{**FCN, "width": int(name.removeprefix("fcn"))})
    return UNet(width=16) if name == "unet16" else UNet(width=32, depth=3, stem=2)


def train(cell: Cell, data: Slices, seed: int, device: str) -> nn.Module:
    """The row's own schedule, with the cell's steps and settings."""
    preset = {name: value for name, value in ADAPTATION["demo"].items() if not name.startswith("segmenter")}
    steps = {"epochs": 3, "decay_epochs": 9, "steps_per_epoch": cell.steps // EPOCHS}
    plain = {"lambda_adv": 0, "matched": False, "selection": "last"}
    settings = resolve(AdaptationSettings, {**preset, **steps, **plain, **cell.settings})
    torch.manual_seed(seed)
    fabric = make_fabric(device, "32")
    network = make_network(cell.network)
    training = make_training(network, settings, device=fabric.device, autocast=fabric.autocast, seed=seed)
    rows = np.arange(len(data.images))
    sampler = SliceSampler(
        rows, rows, batch_size=settings.batch_size, seed=seed, steps_per_epoch=settings.steps_per_epoch,
        lesion_share=settings.lesion_share, lesions=data.masks.any(axis=(1, 2)),
    )  # fmt: skip
    given: Any = data
    for epoch in range(settings.total_epochs):
        train_epoch(training, TrainingData(given, sampler), epoch, seed, Ticker(None, settings.total_epochs))
    return network.eval()


@torch.no_grad()
def probabilities(network: nn.Module, images: Bytes) -> NDArray[np.float32]:
    """(N, H, W)"""
    device = next(network.parameters()).device
    parts = [
        torch.sigmoid(network(to_images(images[k : k + 128], device)).logits[:, 0]) for k in range(0, len(images), 128)
    ]
    return np.asarray(torch.cat(parts).cpu().numpy())


def scores(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Pooled Dice, recall and precision in %."""
    both, marked, true = np.count_nonzero(found & truth), np.count_nonzero(found), np.count_nonzero(truth)
    return 200 * both / max(marked + true, 1), 100 * both / max(true, 1), 100 * both / max(marked, 1)


def on_scans(root: Path, seed: int, slices: Slices, shares: NDArray[np.float32]) -> float:
    """Pooled Dice in % on the test scans' own pixels."""
    phantom, sums = root / f"data/seed-{seed}/phantom", np.zeros(2)
    extract = BrainMaskCache(MuschelliExtractor(), root / f"brain-masks/seed-{seed}", PreprocessSettings())
    extract.folder.mkdir(parents=True, exist_ok=True)
    for case in discover([phantom / "rsna/stage_2_test"]).cases:
        volume = read_case(case)
        truth, brain = load_mask(phantom / f"truth/iph/test/{volume.case_id}.nii.gz")[0] > 0, extract(volume)
        rows = np.flatnonzero(slices.cases == volume.case_id)
        maps = np.zeros((len(truth), SIZE, SIZE), np.float32)
        maps[slices.index[rows]] = shares[rows]
        found = (centred_frame(brain, volume.spacing_mm, SIZE, FOV_MM).to_native(maps) >= 0.5) & brain
        sums += 2 * np.count_nonzero(found & truth), np.count_nonzero(found) + np.count_nonzero(truth)
    return float(100 * sums[0] / sums[1])


def by_patient(slices: Slices, found: NDArray[np.bool_]) -> pd.DataFrame:
    """Voxels at the model's size: in both masks, in the found one, in the true one; a line each patient."""
    truth, sums = slices.masks > 0, {"both_voxels": found & (slices.masks > 0), "found_voxels": found}
    table = pd.DataFrame({name: pixels.sum(axis=(1, 2)) for name, pixels in {**sums, "true_voxels": truth}.items()})
    patients = pd.Series([case.split("_")[0] for case in slices.cases], name="patient")
    return table.groupby(patients).sum().reset_index()


def lines(args: Any) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """One training after the other, each on its own test patients or on those of every cohort that is asked for."""
    for name, seed in ((name, seed) for name in args.cells or CELLS for seed in range(args.seeds)):
        cell = CELLS[name]
        data = mapped(training_slices(args.root, cell, seed), cell)
        network = train(cell, data, seed, args.device)
        fit = scores(probabilities(network, data.images) >= 0.5, data.masks > 0)[0]
        for tested in args.tests or [seed]:
            test = mapped(read(args.root / f"labelled/seed-{tested}/ct-test"), cell)
            shares = probabilities(network, test.images)
            dice, recall, precision = scores(shares >= 0.5, test.masks > 0)
            line = {"cell": name, "seed": seed, "test": tested}
            yield {
                **line, "steps": cell.steps, "slices": len(data.images),
                "positive": int(data.masks.any(axis=(1, 2)).sum()), "dice": dice, "recall": recall,
                "precision": precision, "dice_on_training_slices": fit,
                "dice_on_scans": on_scans(args.root, tested, test, shares) if args.scans else float("nan"),
            }, by_patient(test, shares >= 0.5).assign(**line)  # fmt: skip


def main() -> None:
    parser: Any = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cells", nargs="+", choices=list(CELLS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scans", action="store_true")
    parser.add_argument("--tests", nargs="+", type=int, help="seeds whose test patients are measured; its own if none")
    parser.add_argument("--patients", type=Path, help="table of each test patient's voxels")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done, voxels = list[dict[str, Any]](), list[pd.DataFrame]()
    for line, patients in lines(args):
        done.append(line)
        voxels.append(patients)
        write_csv(args.out, pd.DataFrame(done), "%.2f")
        if args.patients:
            write_csv(args.patients, pd.concat(voxels))
        sys.stdout.write(f"{line['cell']}, seed {line['seed']}, test {line['test']}: {line['dice']:.1f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
