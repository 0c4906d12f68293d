"""The default model with three slices at once (2.5-D): the slice and those 5 mm below and above it, as a trial.

    python tests/benchmarks/default_model_25d.py train sets/ct -o trial --seed 0 --device cuda --precision bf16-mixed
    ctseg preprocess COHORT/rsna/stage_2_test --masks COHORT/truth/iph/test --domain ct --size 144 --fov 216 \\
        --set brain_hu=31 -o test-set
    python tests/benchmarks/default_model_25d.py compare --sets test-set --networks trial/average.safetensors

`train` is the default model's training with an input of three channels: the same settings, augmentations (drawn once a
slice and applied to its three channels alike, but for noise, which each channel has its own of), losses and steps, and
the running mean of the weights (`weight_average`) beside the last weights. `compare` segments labelled slices with
networks of either kind, mirror images averaged, and prints what they have in common with the labels, on the networks'
own pixels.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ctseg.augment.intensity import Noise
from ctseg.augment.pipeline import SourceAugmentation
from ctseg.inference.kind_slices import NEIGHBOURS, beside
from ctseg.inference.predict import MIRRORS
from ctseg.io.slices import SliceSet, open_slices
from ctseg.networks.blocks import seeded
from ctseg.networks.intensity import to_images, to_masks
from ctseg.networks.unet import UNet
from ctseg.segmentation import train
from ctseg.segmentation.batches import augmentation_ranges
from ctseg.segmentation.steps import make_training
from ctseg.training.device import make_fabric
from ctseg.training.loop import Ticker
from ctseg.training.presets import ADAPTATION
from ctseg.training.resolve import resolve_training
from ctseg.training.settings import AdaptationSettings

SIZE: dict[str, int] = {"width": 32, "depth": 3, "stem": 2}
BATCH = 32


def neighbours(table: pd.DataFrame) -> NDArray[np.int64]:
    """(N, 3) rows of the slice below, the slice itself and the one above, within each series of a slice set."""
    found = np.empty((len(table), NEIGHBOURS), np.int64)
    for _, part in table.groupby("series_id", sort=False):
        rows = part.index.to_numpy()[np.argsort(part["z_mm"].to_numpy(float), kind="stable")]
        found[rows] = rows[beside(table.loc[rows, "z_mm"].to_numpy(float))]
    return found


def for_each_channel(drawn: Any) -> Any:
    """What was drawn for B slices, for the three channels of each: B * 3 slices, each with noise of its own."""
    if isinstance(drawn, Noise):
        return replace(drawn, deviation=np.repeat(drawn.deviation, NEIGHBOURS))
    if isinstance(drawn, np.ndarray):
        return np.repeat(drawn, NEIGHBOURS, axis=0)
    if isinstance(drawn, tuple):
        return tuple(map(for_each_channel, drawn))
    if is_dataclass(drawn) and not isinstance(drawn, type):
        return replace(drawn, **{item.name: for_each_channel(getattr(drawn, item.name)) for item in fields(drawn)})
    return drawn


def three_channels(images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """(B, 3) rows -> (B, 3, H, W) in [-1, 1]."""
    stacked = to_images(images[rows.ravel()], device)
    return stacked.reshape(*rows.shape, *stacked.shape[2:])


def batch_of_three(near: NDArray[np.int64]) -> Any:
    """In place of `source_batch`: augmented slices with their neighbours, (B, 3, H, W), and the middle's masks."""

    def make(
        source: SliceSet, rows: NDArray[np.int64], settings: Any, rng: np.random.Generator, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        drawn = for_each_channel(SourceAugmentation.draw(rng, len(rows), augmentation_ranges(settings)))
        beside_rows = near[rows].ravel()
        masks = to_masks(source.require_masks("a segmenter trains on labelled slices")[beside_rows], device)
        images, masks = drawn.apply(to_images(source.images[beside_rows], device), masks)
        images, masks = (part.reshape(len(rows), NEIGHBOURS, *part.shape[2:]) for part in (images, masks))
        return images, masks[:, NEIGHBOURS // 2 : NEIGHBOURS // 2 + 1]

    return make


def train_trial(asked: argparse.Namespace) -> None:
    """Train as `ctseg reproduce default-model` does, with three channels; weights are written after every epoch."""
    from ctseg_reproduce.default_model import TRAINING

    given = {name: value for name, value in TRAINING.items() if "." not in name}
    given |= {"weight_average": asked.weight_average, "steps_per_epoch": asked.steps or given["steps_per_epoch"]}
    preset = {**ADAPTATION["plus"], "segmenter": "unet", "segmenter_settings": SIZE}
    settings = resolve_training(AdaptationSettings, preset, given, "2.5-D")
    source, fabric = open_slices(asked.set), make_fabric(asked.device, asked.precision)
    with seeded(asked.seed):
        segmenter = UNet(in_channels=NEIGHBOURS, **SIZE)
    training = make_training(segmenter, settings, device=fabric.device, autocast=fabric.autocast, seed=asked.seed)
    rows = source.rows("train")
    sampler = train.make_sampler(settings, source, rows, rows, seed=asked.seed, fabric=fabric)
    train.source_batch = batch_of_three(neighbours(source.table))
    asked.output.mkdir(parents=True, exist_ok=True)
    began, ticker = time.monotonic(), Ticker(None, settings.total_epochs)
    for epoch in range(min(settings.total_epochs, asked.epochs or settings.total_epochs)):
        row = train.train_epoch(training, train.TrainingData(source, sampler), epoch, asked.seed, ticker)
        facts = {"in_channels": str(NEIGHBOURS), "epoch": str(epoch + 1)}
        for name, network in (("last", training.segmenter), ("average", training.final)):
            state = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
            save_file(state, asked.output / f".{name}.safetensors", facts)
            (asked.output / f".{name}.safetensors").replace(asked.output / f"{name}.safetensors")
        print(f"epoch {epoch + 1}: loss {row['segmentation']:.4f}, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201


def network_of(path: Path) -> UNet:
    """A network of either kind; its weights say how many channels it takes."""
    state = load_file(path)
    channels = state["downs.0.0.weight"].shape[1] // SIZE["stem"] ** 2
    network = UNet(in_channels=channels, **SIZE)
    network.load_state_dict(state)
    return network.eval()


@torch.no_grad()
def segmented(network: nn.Module, channels: int, images: NDArray[np.uint8], near: NDArray[np.int64]) -> NDArray[Any]:
    """(N, H, W) bool masks, probabilities averaged over mirror images and cut at one half, within the brain."""
    rows = near if channels == NEIGHBOURS else near[:, NEIGHBOURS // 2 : NEIGHBOURS // 2 + 1]
    found = []
    for start in range(0, len(rows), BATCH):
        batch = three_channels(images, rows[start : start + BATCH], torch.device("cpu"))
        turned = [torch.sigmoid(network(batch.flip(axes)).logits).flip(axes) for axes in MIRRORS]
        found.append((torch.stack(turned).mean(dim=0)[:, 0] >= 0.5).numpy())
    return np.concatenate(found) & (images > 0)


def slice_ml(table: pd.DataFrame) -> NDArray[np.float64]:
    """mL of one pixel of each slice: its area times the middle of the steps in its series."""
    steps = table.groupby("series_id")["z_mm"].transform(lambda z: np.median(np.diff(np.sort(z))) if len(z) > 1 else 5)
    return (table["spacing_row_mm"] * table["spacing_col_mm"] * steps / 1000).to_numpy(float)


def by_patient(masks: NDArray[Any], labels: NDArray[Any], table: pd.DataFrame) -> pd.DataFrame:
    """One row a series: pixels found, missed and false, and mL."""
    hits, found, true = ((part).sum(axis=(1, 2)) for part in (masks & labels, masks, labels))
    each = slice_ml(table)
    rows = pd.DataFrame({"series": table["series_id"], "tp": hits, "fp": found - hits, "fn": true - hits,
                         "pred_ml": found * each, "ref_ml": true * each})  # fmt: skip
    return rows.groupby("series", sort=False).sum()


def summary(cases: pd.DataFrame) -> dict[str, float]:
    """Pooled Dice and sensitivity, volume of the truth, false mL in series without a lesion."""
    tp, fp, fn = (float(cases[name].sum()) for name in ("tp", "fp", "fn"))
    none = cases[cases["ref_ml"] == 0]
    return {
        "dice": 2 * tp / max(2 * tp + fp + fn, 1), "sensitivity": tp / max(tp + fn, 1),
        "volume": (tp + fp) / max(tp + fn, 1), "false_ml": float(none["pred_ml"].mean()) if len(none) else float("nan"),
    }  # fmt: skip


def compare(sets: Sequence[Path], networks: Sequence[Path]) -> None:
    """Print one line for each set and network."""
    for folder in sets:
        slices = open_slices(folder)
        images, near = np.asarray(slices.images[:]), neighbours(slices.table)
        labels = np.zeros(images.shape, bool) if slices.masks is None else slices.masks[:] > 0
        for path in networks:
            network = network_of(path)
            masks = segmented(network, network.downs[0][0].in_channels // SIZE["stem"] ** 2, images, near)
            cases = by_patient(masks, labels, slices.table)
            line = ", ".join(f"{name} {value:.4f}" for name, value in summary(cases).items())
            print(f"{folder} {path.name}: {len(cases)} series, {line}", flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    trained = commands.add_parser("train")
    trained.add_argument("set", type=Path)
    trained.add_argument("-o", "--output", type=Path, required=True)
    trained.add_argument("--seed", type=int, default=0)
    trained.add_argument("--device", default="auto")
    trained.add_argument("--precision", default="bf16-mixed")
    trained.add_argument("--weight-average", type=float, default=0.999)
    trained.add_argument("--steps", type=int, help="an epoch; default: the study's")
    trained.add_argument("--epochs", type=int, help="fewer, to try the script")
    compared = commands.add_parser("compare")
    compared.add_argument("--sets", type=Path, nargs="+", required=True)
    compared.add_argument("--networks", type=Path, nargs="+", required=True)
    asked = parser.parse_args()
    if asked.command == "train":
        train_trial(asked)
    else:
        compare(asked.sets, asked.networks)


if __name__ == "__main__":
    sys.exit(main())
