"""The default model: the study that makes it from nothing, on phantoms whose every bleed is known by construction.

No scan of a patient is among its data, so no CT label is, and no real scan with a bleed. What was tried, with its
numbers, is in `docs/default-model.md` of this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctseg_reproduce.stages import Stage

DEFAULT_MODEL = "default-model"
"""What `ctseg reproduce` calls it, and its folder."""
COHORT = {"mr": 1, "ct": 192, "ct_test": 36}
COHORT_SEED = 1000
"""No other study uses these patients."""
SLICES = {"domain": "ct", "size": 144, "fov": 216}
"""Pixels of 1.5 mm; a brain is at most 190 mm long."""
SLICE_SETTINGS = {"brain_hu": 31, "implants": 4}
"""Grey says contrast to the patient's own brain; beside its own bleeds each phantom gets 0 to 4 more."""
TRAINING: dict[str, Any] = {
    "segmenter_settings.width": 32, "segmenter_settings.depth": 3, "segmenter_settings.stem": 2,
    # labelled by construction: no adversary, no teacher, nothing painted over lesions
    "lambda_adv": 0, "lambda_consistency": 0, "synthetic_haemorrhage": 0, "matched": False, "selection": "last",
    "distractors": 0.25, "freeze_batch_norm_from": 0, "recalibrate_batch_norm": 0, "brightness_shift": 0.03,
    "batch_size": 16, "lr": 0.002, "epochs": 4, "decay_epochs": 12, "steps_per_epoch": 505, "sample_every": 4,
    # what bone does to the brain beside it: without it, so many steps mark brain at the skull base
    "edge_erosion": 0.02, "edge_brightening": 0.4, "end_brightening": 0.3, "streaks": 0.12, "sharpness": 0.5,
    # the mean of the last thousand or so steps: trainings differ less in a real head
    "weight_average": 0.999,
}  # fmt: skip
"""Settings over the preset `plus`."""


def default_model_stage(seed: int, workers: int, device: str, precision: str) -> Stage:
    """The study: phantom, labelled slices, training, and the test on 36 phantom patients of the other split."""
    from ctseg_reproduce.stages import Stage

    machine = {"device": device, **({} if precision == "auto" else {"precision": precision})}
    steps = (
        {"name": "phantom", "command": "phantom", "output": "phantom", **COHORT, "seed": COHORT_SEED + seed,
         "workers": workers, "expect_s": 600},
        {"name": "preprocess CT", "command": "preprocess", "input": "phantom/rsna/stage_2_train",
         "masks": "phantom/truth/iph/train", "output": "sets/ct", **SLICES, "set": SLICE_SETTINGS,
         "split": "0.92:0.08", "seed": seed, "workers": workers, "expect_s": 420},
        {"name": "das-train", "command": "das-train", "src": "sets/ct", "tgt": "sets/ct", "segmenter": "unet",
         "preset": "plus", "seed": seed, **machine, "set": TRAINING, "output": "run", "expect_s": 1500},
        {"name": "segment", "command": "segment", "input": "phantom/rsna/stage_2_test", "model": "run",
         "output": "masks", "workers": workers, "device": device,
         "set": {"dicom_seg": False, "preview": False}, "expect_s": 90},
        {"name": "evaluate", "command": "evaluate", "pred": "masks", "ref": "phantom/truth/iph/test",
         "output": "evaluation", "expect_s": 20},
    )  # fmt: skip
    return Stage(DEFAULT_MODEL, steps)
