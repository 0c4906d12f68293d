"""Presets: every value with its source, which `ctseg settings` shows.

The paper's section is named where it gives the value, else the released code of AMD-DAS or CycleGAN (Zhu et al. 2017).
`default`, the default, is the paper with those values of the released code without which training failed in trials.
`plus` goes past the paper in stage 2. `smoke` is tiny, for tests; `demo` is for two CPU cores at 96 x 96. A preset is a
diff over the defaults of `ctseg.training.settings`; `--set` changes its values. `finetune` uses those values that
supervised training has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctseg.errors import SettingError, unknown_name

RELEASED = "released code"
TRAINING = "paper 4.2.2"
"""The section on training details."""
NETWORKS = "paper 4.2.1"
"""The section on networks."""
TRIALS = "trials, docs/decisions/0004-default-preset.md"
CALIBRATED = "decision 6: CT is calibrated, grey stays HU"
TINY = "small, for tests"
SMALL = "small networks, few steps"


class Values(dict[str, Any]):
    """Settings by name; `sources` says where each comes from."""

    def __init__(self, *bases: Mapping[str, Any], **given: tuple[Any, str]) -> None:
        super().__init__()
        self.sources: dict[str, str] = {}
        for base in bases:
            self.update(base)
            self.sources |= getattr(base, "sources", {})
        for name, (value, source) in given.items():
            self[name], self.sources[name] = value, source

    def only(self, *names: str) -> Values:
        """Some of them, with their sources."""
        return Values(**{name: (self[name], self.sources.get(name, "")) for name in names})


PAPER_SYNTHESIS = Values(
    generator=("amd", NETWORKS),
    generator_settings=(
        {"width": 64, "growth": 12, "layers": 5, "skip": True},
        f"{NETWORKS}: the decoder gets the encoder's output beside the fusion's; sizes of the {RELEASED}",
    ),
    gan=("log", "paper, equation (2)"),
    gan_features=("log", "paper, equations (6), (7)"),
    lambda_cyc=(5.0, TRAINING),
    lambda_identity=(0.0, "paper, equation (1) has none"),
    lambda_les=(50.0, TRAINING),
    lambda_fda=(15.0, TRAINING),
    fda_scope=("fusion", 'paper 3.1.3: "this loss trains the fusion module"'),
    pairs_top=(20, "paper 3.1.4"),
    lr_generator=(2e-4, TRAINING),
    lr_discriminator=(2e-4, TRAINING),
    betas=((0.5, 0.99), TRAINING),
    lr_features=(2e-4, f'{TRAINING}: "generators and discriminators"'),
    betas_features=((0.5, 0.99), TRAINING),
    discriminator_width=(64, RELEASED),
    discriminator_norm=("batch", NETWORKS),
    discriminator_layers=(4, f'{NETWORKS}: "repeated four times: conv, BN, leaky ReLU"'),
    features_width=(64, RELEASED),
    lesion_width=(64, "VGG-16"),
    lesion_initialisation=("normal", RELEASED),
    lesion_optimiser=("sgd", TRAINING),
    lr_lesion=(0.1, TRAINING),
    lesion_momentum=(0.7, TRAINING),
    batch_size=(2, TRAINING),
    epochs=(1000, f"{RELEASED}; the paper does not say"),
    decay_epochs=(500, RELEASED),
    image_pool=(0, RELEASED),
    flip=(False, f"{RELEASED}: no augmentation in stage 1"),
    sample_every=(5, "pictures alone"),
)

_RELEASED_LOSSES = Values(
    PAPER_SYNTHESIS,
    generator_settings=(
        {"width": 64, "growth": 12, "layers": 5, "skip": False},
        f"{RELEASED}: the decoder takes the fusion's output alone",
    ),
    gan=("lsq", f"{RELEASED}: least squares everywhere"),
    gan_features=("lsq", f"{RELEASED}: D_fusion too"),
    lambda_cyc=(50.0, RELEASED),
    lambda_identity=(5.0, RELEASED),
    betas=((0.5, 0.999), RELEASED),
    lr_features=(1e-3, RELEASED),
    betas_features=((0.9, 0.99), RELEASED),
    discriminator_norm=("instance", RELEASED),
    discriminator_layers=(3, f"{RELEASED}: the 70 x 70 PatchGAN"),
    batch_size=(1, f"{RELEASED}: crashes above 1 in its domain loss; ours does not"),
)

RELEASED_SYNTHESIS = Values(
    _RELEASED_LOSSES, fda_features=("after", f"{RELEASED}: encodings of the pass, fused again after the update")
)

SMOKE_SYNTHESIS = Values(
    PAPER_SYNTHESIS,
    generator_settings=({"width": 4, "growth": 2, "layers": 2, "skip": True}, TINY),
    discriminator_width=(4, TINY),
    features_width=(4, TINY),
    lesion_width=(4, TINY),
    lesion_initialisation=("vgg", "so narrow, N(0, 0.02) passes nothing on"),
    epochs=(2, TINY),
    decay_epochs=(0, TINY),
    steps_per_epoch=(2, TINY),
    sample_every=(1, TINY),
    audit_slices=(4, TINY),
)

DEFAULT_SYNTHESIS = Values(
    _RELEASED_LOSSES,  # its loss forms and norms: with the paper's, D_CT won in every short trial (decision 4)
    generator_settings=({"width": 64, "growth": 12, "layers": 5, "skip": True}, NETWORKS),
    batch_size=(2, TRAINING),
    lesion_initialisation=(
        "vgg", "He, as for VGG: thirteen convolutions from N(0, 0.02) pass hardly anything on",
    ),
)  # fmt: skip

DEMO_SYNTHESIS = Values(
    DEFAULT_SYNTHESIS,
    generator_settings=({"width": 16, "growth": 12, "layers": 5, "skip": True}, "a quarter of the paper's width"),
    lr_generator=(1e-3, SMALL),
    discriminator_width=(16, SMALL),
    features_width=(16, SMALL),
    lesion_width=(16, SMALL),
    batch_size=(4, SMALL),
    epochs=(8, SMALL),
    decay_epochs=(4, SMALL),
    steps_per_epoch=(100, SMALL),
    sample_every=(2, "pictures alone"),
)

_PAPER_STAGE_2 = Values(
    segmenter=("fcn", f"{NETWORKS}: FCN on VGG-16"),
    segmenter_settings=(
        {"width": 64, "input_mean": 0.074, "input_std": 0.148},
        f"VGG-16; the {RELEASED} normalises CT so",
    ),
    loss=("bce", "paper, equation (20)"),
    gan=("log", "paper, equations (21), (22)"),
    lambda_adv=(0.001, f"{RELEASED}; the paper does not say"),
    optimiser=("sgd", TRAINING),
    lr=(0.1, TRAINING),
    momentum=(0.7, TRAINING),
    lr_discriminator=(0.01, TRAINING),
    betas_discriminator=((0.9, 0.99), TRAINING),
    discriminator_width=(64, RELEASED),
    freeze_batch_norm_on_target=(True, RELEASED),
    flip_probability=(0.5, "paper 4.3.3"),
    brightness=(0.2, f"paper 4.3.3; a factor of 0.8 to 1.2 on grey values, as in the {RELEASED} (decision 8)"),
    batch_size=(12, TRAINING),
    epochs=(100, RELEASED),
    decay_epochs=(0, f"{RELEASED}: constant rate"),
    sample_every=(5, "pictures alone"),
)

PAPER_ADAPTATION = Values(
    _PAPER_STAGE_2,
    source_mean=(0.086, f"{RELEASED}: the source has constants of its own, MR and pseudo-CT alike"),
    source_std=(0.167, f"{RELEASED}, as source_mean"),
)

RELEASED_ADAPTATION = Values(
    PAPER_ADAPTATION,
    lr_discriminator=(1e-3, RELEASED),
    matched=(False, f"{RELEASED}: matching is not used in stage 2"),
)

SMOKE_ADAPTATION = Values(
    _PAPER_STAGE_2,
    segmenter_settings=({"width": 4}, TINY),
    discriminator_width=(4, TINY),
    batch_size=(2, TINY),
    epochs=(2, TINY),
    steps_per_epoch=(2, TINY),
    sample_every=(1, TINY),
)

_TRAINABLE_ADAPTATION = Values(
    _PAPER_STAGE_2,  # one normalisation for both domains
    lr_discriminator=(1e-3, f"{RELEASED}; at the paper's 0.01 the adversary ran away in every trial (decision 4)"),
    selection=("tta_consistency", f"nearest to the best epoch over 15 runs: {TRIALS}"),
)
KEEP_PRECISION = Values(
    freeze_batch_norm_from=(
        4, "decision 6: else the network learns with each batch's own statistics and is used with others",
    ),
    # CT is calibrated (water within 5 HU: ACR phantom): grey stays HU within 5 HU of 0 to 100.
    brightness=(0.0, CALIBRATED),
    brightness_shift=(0.05, f"{CALIBRATED} within 5 (ACR phantom)"),
    selection=("tta_consistency", f"nearest to the best epoch over 15 runs: {TRIALS}"),
    select_from=(4, "before it, batch norm is not yet frozen"),
)  # fmt: skip
"""What keeps precision from falling (decision 6): batch norm is used as it is trained, and grey stays HU."""
DEFAULT_ADAPTATION = Values(
    _TRAINABLE_ADAPTATION,
    Values(recalibrate_batch_norm=(16, f"running statistics swung: {TRIALS}")),
    KEEP_PRECISION,
)
MR_SOURCE: dict[str, Any] = {
    "brightness": PAPER_ADAPTATION["brightness"],
    "brightness_shift": 0.0,
    "freeze_batch_norm_from": 0,
    "select_from": 0,
}
"""What does not suit MR as the source: its greys have no unit, and CT lies far from its statistics."""

DEMO_ADAPTATION = Values(
    _TRAINABLE_ADAPTATION,  # the tables at scale cpu use it
    segmenter_settings=({"width": 16, "input_mean": 0.074, "input_std": 0.148}, "a quarter of VGG-16"),
    discriminator_width=(16, SMALL),
    # Chosen on the source's own validation patients, for a thousand steps: Dice 0.85 against 0.71; batch norm is
    # recalibrated since its running statistics swung (docs/decisions/0004-default-preset.md).
    loss=("bce+dice", f"source validation, Dice 0.85 against 0.71: {TRIALS}"),
    optimiser=("adam", f"source validation: {TRIALS}"),
    lr=(3e-3, f"source validation: {TRIALS}"),
    recalibrate_batch_norm=(16, f"running statistics swung: {TRIALS}"),
    epochs=(3, SMALL),
    decay_epochs=(9, SMALL),
    steps_per_epoch=(60, SMALL),
    sample_every=(4, "pictures alone"),
)

BEYOND = "beyond the paper, plugins/ctseg-reproduce/docs/plus.md"
PLUS_ALL = Values(
    Values(
        selection=("tta_consistency", f"nearest to the best epoch over 15 runs: {TRIALS}"),
        select_from=(5, "as consistency_from: before, a network has not met all parts of plus"),
        loss=("bce+dice+slice-dice", "small lesions weigh like large ones"),
        recalibrate_batch_norm=(16, f"running statistics swung: {TRIALS}"),
    ),
    KEEP_PRECISION.only("freeze_batch_norm_from", "brightness", "brightness_shift"),
    contrast=(0.15, BEYOND),
    bias_field=(0.08, "8 HU: beam hardening at the skull base"),
    noise=(0.05, BEYOND),
    rotation_deg=(15.0, BEYOND),
    zoom=(0.15, BEYOND),
    synthetic_haemorrhage=(1.0, BEYOND),
    distractors=(0.5, BEYOND),
    lambda_adv_output=(0.001, "second level of discrimination (Tsai et al. 2018), weight as lambda_adv"),
    lambda_consistency=(1.0, "masked consistency with a mean teacher (Hoyer et al. 2023)"),
    consistency_from=(5, "before, the teacher finds little, and a student learns to find nothing"),
    ema_warmup=(True, f"else the teacher is behind its student when its labels begin to count: {BEYOND}"),
    pseudo_label_contrast=(0.1, "10 HU of 0..100: fresh blood is at least that much brighter than the brain"),
    copy_paste=(0.5, "cross-domain mixing (Tranheden et al. 2021)"),
)
"""All that was tried for stage 2 beyond the paper and measured part by part."""
PLUS = Values(
    PLUS_ALL,
    copy_paste=(0, f"did not win over seeds: {BEYOND}"),
    lambda_adv_output=(0, f"did not win: {BEYOND}"),
    freeze_batch_norm_from=(0, f"in the middle of a short training it ended in a collapse: {BEYOND}"),
)
"""What was kept of it, for any preset; nothing of it is shown to help (plugins/ctseg-reproduce/docs/plus.md)."""
PLUS_ADAPTATION = Values(
    DEFAULT_ADAPTATION,
    PLUS,
    optimiser=("adam", BEYOND),
    lr=(1e-3, BEYOND),
    matched=(False, BEYOND),
    epochs=(25, BEYOND),
    decay_epochs=(75, BEYOND),
)

SYNTHESIS: dict[str, dict[str, Any]] = {
    "default": DEFAULT_SYNTHESIS,
    "paper": PAPER_SYNTHESIS,
    "released": RELEASED_SYNTHESIS,
    "smoke": SMOKE_SYNTHESIS,
    "demo": DEMO_SYNTHESIS,
    "plus": DEFAULT_SYNTHESIS,  # stage 1 is the paper's
}
ADAPTATION: dict[str, dict[str, Any]] = {
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
