"""The default model trained further on heads with many contusions, as tried in its docs ("Contusions in the training").

    ctseg phantom --mr 1 --ct 96 --ct-test 1 --seed 1100 -o phantom
    python tests/benchmarks/contusion_training.py slices phantom ct
    ctseg das-train --src ct --tgt ct --from default ... -o run
    python tests/benchmarks/contusion_training.py between run/model.safetensors 0.5 half.safetensors
    python tests/benchmarks/contusion_training.py measure OUT.csv half.safetensors [SEED ...]

`slices` implants up to 6 haematomas into each patient, 6 in 10 of them contusions. `between` averages the default
model's weights and others. `measure` writes mL of each test patient after trauma (seeds 3000 to 3004) and goes on with
those that are missing.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from contusion_sensitivity import patients, scanned
from safetensors import safe_open
from safetensors.torch import save_file

import ctseg.preprocess.implants
from ctseg.api import find_models, load_for_segment
from ctseg.cli.main import main as ctseg_main
from ctseg.implant.wanted import IPH, Wanted, draw_wanted
from ctseg.inference.measure import volume_ml
from ctseg.inference.predict import predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.phantom.bhsd import BHSD
from ctseg.phantom.bleed_statistics import quantile

SHARE, SMALLEST, MOST_ML = 0.6, 0.35, 25.0
"""Share of contusions; the quantile of mL of IPH from which they are drawn, and the largest."""
SETTINGS = SegmentSettings(grow_mm=4, faint_hu=8, tta=True)
"""As the card of the default model says."""
COLUMNS = ("seed", "index", "true_ml", "ml", "both_ml", "contusion_ml", "contusion_both_ml")


def draw(rng: np.random.Generator) -> Wanted:
    """A contusion, or what the default model's training draws."""
    if rng.random() >= SHARE:
        return draw_wanted(rng)
    ml = quantile(BHSD[IPH].ml, float(rng.uniform(SMALLEST, 1)), log=True)
    return draw_wanted(rng, kind="contusion", ml=min(MOST_ML, ml))


def slices(phantom: str, out: str) -> int:
    """The slices of a phantom cohort with implants, made in this process."""
    ctseg.preprocess.implants.draw_wanted = draw  # type: ignore[assignment]
    scans, masks = f"{phantom}/rsna/stage_2_train", f"{phantom}/truth/iph/train"
    flags = "--domain ct --size 144 --fov 216 --set brain_hu=31 --set implants=6 --split 0.98:0.02 --seed 0 --workers 0"
    return ctseg_main(["preprocess", scans, "--masks", masks, *flags.split(), "-o", out])


def between(other: str, share: str, out: str) -> None:
    """Weights so far from the default model's to others, 0 to 1."""
    ours, _ = _weights(Path(ctseg.__file__).parent / "models" / "default.safetensors")
    theirs, about = _weights(Path(other))
    mixed = {
        name: torch.lerp(ours[name], theirs[name], float(share)) if ours[name].is_floating_point() else ours[name]
        for name in ours
    }
    save_file(mixed, out, metadata=about)


def _weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def measure(out: str, model: str, seeds: list[str]) -> None:
    """A row a patient: true mL, segmented mL, both; of all IPH, and of contusions."""
    torch.set_num_threads(1)
    groups, extractor = load_for_segment(find_models(model), "cpu")
    path = Path(out)
    done = {tuple(pair) for pair in pd.read_csv(path)[["seed", "index"]].to_numpy()} if path.exists() else set()
    for case in (case for seed in seeds or range(3000, 3005) for case in patients(int(seed))):
        if (case.seed[0], case.index) in done:
            continue
        volume, bleeds = scanned(case)
        mask = predict_volume(volume, groups, SETTINGS, extractor).mask
        truth, contusions = np.zeros_like(mask), np.zeros_like(mask)
        for part, bleed in bleeds:
            truth |= bleed
            contusions |= bleed & (type(part.shape).__name__ == "Contusion")
        parts = (truth, mask, mask & truth, contusions, mask & contusions)
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(COLUMNS)
            writer.writerow([case.seed[0], case.index, *(f"{volume_ml(part, volume):.4f}" for part in parts)])


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "slices":
        sys.exit(slices(*words))
    elif what == "between":
        between(*words)
    else:
        measure(words[0], words[1], words[2:])
