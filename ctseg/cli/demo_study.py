"""The demo as a study: its commands with their flags, and its results.

The small form fits two CPU cores: 96 x 96 pixels of 2.5 mm and a quarter of the paper's widths, set through settings,
not other code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctseg.errors import InputError
from ctseg.files import read_json

MODELS = {"mr-only": "network trained on MR alone", "amd-das": "AMD-DAS"}
SMALL_COHORT = {"mr": 24, "ct": 24, "ct_test": 12}
FULL_COHORT = {"mr": 96, "ct": 96, "ct_test": 36}
SMALL_SIZE, FULL_SIZE = 96, 240
FIRST_SEED = 500_000
"""Added to the seed for the first scan, whose patient is none of the cohort's."""
MR_SLICES = "25:135"
"""All levels that hold brain. The paper's 60:100 leave out the skull base, which whole CT scans have: networks trained
on pseudo-CT of those levels alone outline temporal poles (plugins/ctseg-reproduce/docs/notes/levels.md)."""


def demo_steps(*, full: bool = False, seed: int = 0, workers: int = 2, device: str = "auto") -> list[dict[str, Any]]:
    """The study's steps in order.

    Args:
        full: 240 x 240 and the method's real widths, for a GPU.
        seed: of the cohort and of every training.
        workers: processes for phantom, preprocess and segment.
        device: for training and segmenting.
    """
    cohort, size, preset = (FULL_COHORT, FULL_SIZE, "default") if full else (SMALL_COHORT, SMALL_SIZE, "demo")
    machine = {"device": device}
    source = {"src": "sets/mr", "tgt": "sets/ct"}
    pseudo = {"src": "sets/pseudo-ct", "tgt": "sets/ct"}
    length = FULL_LENGTH if full else SMALL_LENGTH
    training = {"preset": preset, "seed": seed, **machine}
    return [
        {"name": "a first scan", "command": "phantom", "output": "first/phantom", "mr": 1, "ct": 1, "ct_test": 1,
         "seed": seed + FIRST_SEED, "workers": workers, "expect_s": 20},
        {"name": "segment it with the default model", "command": "segment",
         "input": "first/phantom/rsna/stage_2_test", "output": "first/masks", **machine, "expect_s": 4},
        {"name": "phantom", "command": "phantom", "output": "phantom", **cohort, "seed": seed, "workers": workers,
         "expect_s": 190},
        {"name": "preprocess MR", "command": "preprocess", "input": "phantom/Task01_BrainTumour", "output": "sets/mr",
         "size": size, "slices": MR_SLICES, "workers": workers, "expect_s": 7},
        {"name": "preprocess CT", "command": "preprocess", "input": "phantom/rsna/stage_2_train", "output": "sets/ct",
         "size": size, "labels": "phantom/rsna/stage_2_train.csv", "select": "intraparenchymal", "workers": workers,
         "expect_s": 10},
        {"name": "match", "command": "match", **source, "output": "pairs.csv", "expect_s": 1},
        {"name": "match for stage 2", "command": "match", **source, "direction": "target",
         "output": "pairs-stage2.csv", "expect_s": 1},
        {"name": "synth-train", "command": "synth-train", **source, "pairs": "pairs.csv", "output": "runs/synthesis",
         **training, "set": length["stage1"], "expect_s": 295},
        {"name": "synthesize", "command": "synthesize", "model": "runs/synthesis", "src": "sets/mr",
         "output": "sets/pseudo-ct", **machine, "expect_s": 15},
        {"name": "das-train on MR alone", "command": "das-train", **source, "output": "runs/mr-only", **training,
         "set": {**length["stage2"], "lambda_adv": 0, "matched": False}, "expect_s": 50},
        {"name": "das-train", "command": "das-train", **pseudo, "pairs": "pairs-stage2.csv", "output": "runs/amd-das",
         **training, "set": length["stage2"], "expect_s": 75},
        *[
            {"name": f"segment by {name}", "command": "segment", "input": "phantom/rsna/stage_2_test",
             "model": f"runs/{name}", "output": f"masks/{name}", "workers": workers, **machine, "expect_s": 25}
            for name in MODELS
        ],
        {"name": "evaluate", "command": "evaluate", "pred": [f"masks/{name}" for name in MODELS],
         "ref": "phantom/truth/iph/test", "labels": "phantom/truth/stage_2_test.csv",
         "images": "phantom/rsna/stage_2_test", "output": "evaluation", "expect_s": 15},
    ]  # fmt: skip


SMALL_LENGTH: dict[str, dict[str, Any]] = {"stage1": {"steps_per_epoch": 50}, "stage2": {}}
"""Stage 1 takes 600 steps, as at scale `cpu` of `ctseg reproduce`, which is measured; the preset has 1,200."""
FULL_LENGTH: dict[str, dict[str, Any]] = {
    "stage1": {"epochs": 20, "decay_epochs": 10, "batch_size": 4},
    "stage2": {"epochs": 20},
}
"""The paper's 1500 and 100 epochs are for 15,480 slices over days; these bring a GPU through in about an hour."""


def study_text(steps: Sequence[Mapping[str, Any]]) -> str:
    """The steps as a study file."""
    import tomli_w

    kept = [{key: value for key, value in step.items() if value != {}} for step in steps]
    return "# Made by `ctseg demo`; run it again with `ctseg run study.toml`.\n\n" + tomli_w.dumps({"step": kept})


def result_rows(folder: Path) -> list[dict[str, Any]]:
    """One row a model of the demo's evaluation: pooled and per-volume Dice on the held-out CT patients, with intervals.

    Raises:
        InputError: if the evaluation is not there.
    """
    summary = read_json(Path(folder) / "evaluation" / "summary.json")
    models = summary.get("models") if isinstance(summary, dict) else None
    try:
        rows = [_row(model, Path(folder)) for model in models or ()]
    except (KeyError, TypeError, AttributeError):
        rows = []
    if not rows:
        raise InputError(f"{folder}/evaluation/summary.json: holds no model; run the demo again with --overwrite")
    return rows


def _row(model: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    from ctseg.runs import read_header

    training = read_header(folder / "runs" / model["name"]).training
    return {
        "model": model["name"],
        "what": MODELS.get(model["name"], model["name"]),
        "patients": model["patients"],
        "pooled_dice": model["pooled"]["dice"],
        "volume_dice": model["by_volume"]["dice"]["mean"],
        "specificity": model["detection"]["specificity"],
        "fp_ml": model["negative_cases"]["fp_ml"]["mean"],
        "selection": training.get("selection", "last"),
    }


def interval(estimate: Mapping[str, Any], scale: float = 100.0, digits: int = 1) -> str:
    """`81.4 (75.0 to 86.2)`; a dash where nothing could be estimated."""
    if estimate.get("value") is None:
        return "–"
    text = f"{estimate['value'] * scale:.{digits}f}"
    if estimate.get("low") is None or estimate.get("high") is None:
        return text
    return f"{text} ({estimate['low'] * scale:.{digits}f} to {estimate['high'] * scale:.{digits}f})"
