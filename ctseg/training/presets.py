"""Presets: every value with its source.

P = the paper (section), R = the released code of AMD-DAS, C = CycleGAN (Zhu et al. 2017), both where the paper
gives no value. `default`, the default, is the paper with those values of the released code without which training
failed in trials. `plus` goes past the paper in stage 2. `smoke` is tiny, for tests; `demo` is for two CPU cores at
96 x 96. A preset is a diff over the defaults of `ctseg.training.settings`; `--set` changes its values. `finetune`
uses those values that supervised training has.
"""

from __future__ import annotations

from typing import Any

from ctseg.errors import SettingError, unknown_name

PAPER_SYNTHESIS: dict[str, Any] = {
    "generator": "amd",
    # P 4.2.1: the decoder gets the encoder's output beside the fusion's; sizes R
    "generator_settings": {"width": 64, "growth": 12, "layers": 5, "skip": True},
    "gan": "log",  # P equation (2)
    "gan_features": "log",  # P equations (6), (7)
    "lambda_cyc": 5.0,  # P 4.2.2
    "lambda_identity": 0.0,  # P equation (1) has none
    "lambda_les": 50.0,  # P 4.2.2
    "lambda_fda": 15.0,  # P 4.2.2
    "fda_scope": "fusion",  # P 3.1.3: "this loss trains the fusion module"
    "pairs_top": 20,  # P 3.1.4
    "lr_generator": 2e-4,  # P 4.2.2
    "lr_discriminator": 2e-4,  # P 4.2.2
    "betas": (0.5, 0.99),  # P 4.2.2
    "lr_features": 2e-4,  # P 4.2.2: "generators and discriminators"
    "betas_features": (0.5, 0.99),  # P 4.2.2
    "discriminator_width": 64,  # R
    "discriminator_norm": "batch",  # P 4.2.1
    "discriminator_layers": 4,  # P 4.2.1: "repeated four times: conv, BN, leaky ReLU"
    "features_width": 64,  # R
    "lesion_width": 64,  # VGG-16
    "lesion_initialisation": "normal",  # R
    "lesion_optimiser": "sgd",  # P 4.2.2
    "lr_lesion": 0.1,  # P 4.2.2
    "lesion_momentum": 0.7,  # P 4.2.2
    "batch_size": 2,  # P 4.2.2
    "epochs": 1000,  # R; the paper does not say
    "decay_epochs": 500,  # R
    "image_pool": 0,  # R
    "flip": False,  # R: no augmentation in stage 1
    "sample_every": 5,
}

RELEASED_SYNTHESIS: dict[str, Any] = {
    **PAPER_SYNTHESIS,
    # R: the decoder takes the fusion's output alone
    "generator_settings": {"width": 64, "growth": 12, "layers": 5, "skip": False},
    "gan": "lsq",  # R: least squares everywhere
    "gan_features": "lsq",  # R: D_fusion too
    "lambda_cyc": 50.0,  # R
    "lambda_identity": 5.0,  # R
    "betas": (0.5, 0.999),  # R
    "lr_features": 1e-3,  # R
    "betas_features": (0.9, 0.99),  # R
    "discriminator_norm": "instance",  # R
    "discriminator_layers": 3,  # R: the 70 x 70 PatchGAN
    "batch_size": 1,  # R: crashes above 1 in its domain loss; ours does not
}

SMOKE_SYNTHESIS: dict[str, Any] = {
    **PAPER_SYNTHESIS,
    "generator_settings": {"width": 4, "growth": 2, "layers": 2, "skip": True},
    "discriminator_width": 4,
    "features_width": 4,
    "lesion_width": 4,
    "lesion_initialisation": "vgg",  # so narrow, N(0, 0.02) passes nothing on
    "epochs": 2,
    "decay_epochs": 0,
    "steps_per_epoch": 2,
    "sample_every": 1,
    "audit_slices": 4,
}

DEFAULT_SYNTHESIS: dict[str, Any] = {
    **RELEASED_SYNTHESIS,  # its loss forms and norms: with the paper's, D_CT won in every short trial (decision 4)
    "generator_settings": {"width": 64, "growth": 12, "layers": 5, "skip": True},  # P 4.2.1
    "batch_size": 2,  # P 4.2.2
    "lesion_initialisation": "vgg",  # He for VGG: thirteen convolutions from N(0, 0.02) pass hardly anything on
}

DEMO_SYNTHESIS: dict[str, Any] = {
    **DEFAULT_SYNTHESIS,
    "generator_settings": {"width": 16, "growth": 12, "layers": 5, "skip": True},  # a quarter of the paper's width
    "lr_generator": 1e-3,  # small networks, few steps
    "discriminator_width": 16,
    "features_width": 16,
    "lesion_width": 16,
    "batch_size": 4,
    "epochs": 8,
    "decay_epochs": 4,
    "steps_per_epoch": 100,
    "sample_every": 2,
}

PAPER_ADAPTATION: dict[str, Any] = {
    "segmenter": "fcn",  # P 4.2.1: FCN on VGG-16
    "segmenter_settings": {"width": 64, "input_mean": 0.074, "input_std": 0.148},  # VGG-16; R normalises CT so
    "loss": "bce",  # P equation (20)
    "gan": "log",  # P equations (21), (22)
    "lambda_adv": 0.001,  # R; the paper does not say
    "optimiser": "sgd",  # P 4.2.2
    "lr": 0.1,  # P 4.2.2
    "momentum": 0.7,  # P 4.2.2
    "lr_discriminator": 0.01,  # P 4.2.2
    "betas_discriminator": (0.9, 0.99),  # P 4.2.2
    "discriminator_width": 64,  # R
    "freeze_batch_norm_on_target": True,  # R
    "flip_probability": 0.5,  # P 4.3.3
    "brightness": 0.2,  # P 4.3.3; a factor of 0.8 to 1.2 on grey values, as in R (decision 8)
    "batch_size": 12,  # P 4.2.2
    "epochs": 100,  # R
    "decay_epochs": 0,  # R: constant rate
    "sample_every": 5,
}

RELEASED_ADAPTATION: dict[str, Any] = {
    **PAPER_ADAPTATION,
    "lr_discriminator": 1e-3,  # R
    "matched": False,  # R: matching is not used in stage 2
}

SMOKE_ADAPTATION: dict[str, Any] = {
    **PAPER_ADAPTATION,
    "segmenter_settings": {"width": 4},
    "discriminator_width": 4,
    "batch_size": 2,
    "epochs": 2,
    "steps_per_epoch": 2,
    "sample_every": 1,
}

_TRAINABLE_ADAPTATION: dict[str, Any] = {
    **PAPER_ADAPTATION,
    "lr_discriminator": 1e-3,  # R; at the paper's 0.01 the adversary ran away in every trial (decision 4)
    "selection": "tta_consistency",  # nearest to the best epoch over 15 runs (docs/decisions/0004-default-preset.md)
}
KEEP_PRECISION: dict[str, Any] = {
    "freeze_batch_norm_from": 4,  # else the network learns with each batch's own statistics and is used with others
    # CT is calibrated (water within 5 HU: ACR phantom): grey stays HU within 5 HU of 0 to 100.
    "brightness": 0.0,
    "brightness_shift": 0.05,
    "selection": "tta_consistency",
    "select_from": 4,  # before it, batch norm is not yet frozen
}
"""What keeps precision from falling (decision 6): batch norm is used as it is trained, and grey stays HU."""
DEFAULT_ADAPTATION: dict[str, Any] = {**_TRAINABLE_ADAPTATION, "recalibrate_batch_norm": 16, **KEEP_PRECISION}
MR_SOURCE: dict[str, Any] = {
    "brightness": PAPER_ADAPTATION["brightness"],
    "brightness_shift": 0.0,
    "freeze_batch_norm_from": 0,
    "select_from": 0,
}
"""What does not suit MR as the source: its greys have no unit, and CT lies far from its statistics."""

DEMO_ADAPTATION: dict[str, Any] = {
    **_TRAINABLE_ADAPTATION,  # the tables at scale cpu use it
    "segmenter_settings": {"width": 16, "input_mean": 0.074, "input_std": 0.148},  # a quarter of VGG-16
    "discriminator_width": 16,
    # Chosen on the source's own validation patients, for a thousand steps: Dice 0.85 against 0.71; batch norm is
    # recalibrated since its running statistics swung (docs/decisions/0004-default-preset.md).
    "loss": "bce+dice",
    "optimiser": "adam",
    "lr": 3e-3,
    "recalibrate_batch_norm": 16,
    "epochs": 3,
    "decay_epochs": 9,
    "steps_per_epoch": 60,
    "sample_every": 4,
}

PLUS_ALL: dict[str, Any] = {
    # Beyond the paper, see plugins/ctseg-reproduce/docs/plus.md for what each is worth.
    "selection": "tta_consistency",
    "select_from": 5,  # as consistency_from: before, a network has not met all parts of plus
    "loss": "bce+dice+slice-dice",  # small lesions weigh like large ones
    "recalibrate_batch_norm": 16,
    "freeze_batch_norm_from": KEEP_PRECISION["freeze_batch_norm_from"],
    "brightness": KEEP_PRECISION["brightness"],
    "brightness_shift": KEEP_PRECISION["brightness_shift"],
    "contrast": 0.15,
    "bias_field": 0.08,  # 8 HU: beam hardening at the skull base
    "noise": 0.05,
    "rotation_deg": 15.0,
    "zoom": 0.15,
    "synthetic_haemorrhage": 1.0,
    "distractors": 0.5,
    "lambda_adv_output": 0.001,  # second level of discrimination (Tsai et al. 2018), weight as lambda_adv
    "lambda_consistency": 1.0,  # masked consistency with a mean teacher (Hoyer et al. 2023)
    "consistency_from": 5,  # before, the teacher finds little, and a student learns to find nothing
    "pseudo_label_contrast": 0.1,  # 10 HU of 0..100: fresh blood is at least that much brighter than the brain
    "copy_paste": 0.5,  # cross-domain mixing (Tranheden et al. 2021)
}
"""All that was tried for stage 2 beyond the paper and measured part by part."""
PLUS: dict[str, Any] = {**PLUS_ALL, "copy_paste": 0, "lambda_adv_output": 0}
"""What of it won over seeds (plugins/ctseg-reproduce/docs/plus.md), for any preset."""
PLUS_ADAPTATION: dict[str, Any] = {
    **DEFAULT_ADAPTATION,
    **PLUS,
    "optimiser": "adam",
    "lr": 1e-3,
    "matched": False,
    "epochs": 25,
    "decay_epochs": 75,
}

SYNTHESIS = {
    "default": DEFAULT_SYNTHESIS,
    "paper": PAPER_SYNTHESIS,
    "released": RELEASED_SYNTHESIS,
    "smoke": SMOKE_SYNTHESIS,
    "demo": DEMO_SYNTHESIS,
    "plus": DEFAULT_SYNTHESIS,  # stage 1 is the paper's
}
ADAPTATION = {
    "default": DEFAULT_ADAPTATION,
    "paper": PAPER_ADAPTATION,
    "released": RELEASED_ADAPTATION,
    "smoke": SMOKE_ADAPTATION,
    "demo": DEMO_ADAPTATION,
    "plus": PLUS_ADAPTATION,
}
DEFAULT = "default"


def preset(stage: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The values of a preset.

    Raises:
        SettingError: listing the known presets.
    """
    if name not in stage:
        raise SettingError(unknown_name("preset", name, sorted(stage)))
    return stage[name]
