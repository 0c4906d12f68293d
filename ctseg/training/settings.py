"""Typed settings of the two training stages; `ctseg.training.presets` has what each preset sets, and why."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ctseg.networks.settings import GanForm, ImageGanForm
from ctseg.settings import Settings

Betas = tuple[float, float]


class TrainingSettings(Settings):
    """What both stages share."""

    batch_size: PositiveInt = Field(2, description="source slices (and as many target slices) in one step")
    epochs: PositiveInt = Field(100, description="epochs at the full learning rate")
    decay_epochs: NonNegativeInt = Field(0, description="further epochs with the rate falling linearly to 0")
    steps_per_epoch: PositiveInt | None = Field(None, description="steps an epoch; default: each source slice once")
    source_split: str = Field("train", description="split of the source set to train on; 'all' for every slice")
    target_split: str = Field("train", description="split of the target set to train on; 'all' for every slice")
    sample_every: PositiveInt = Field(1, description="epochs between pictures in samples/")
    checkpoint_every: PositiveInt = Field(1, description="epochs between checkpoints")
    channels_last: bool = Field(True, description="memory layout that makes convolutions faster; no other effect")


class SynthesisSettings(TrainingSettings):
    """Stage 1, equations (1) to (7)."""

    generator: str = Field("amd", description="registered generator")
    generator_settings: dict[str, Any] = Field(default_factory=dict, description="settings of the generator")
    gan: ImageGanForm = Field(
        "log", description="form of equation (2): minimax as printed, log (-log D) or lsq (least squares)"
    )
    gan_features: GanForm = Field("log", description="form of the feature-space loss (equations 6, 7)")
    lambda_gan: NonNegativeFloat = Field(1.0, description="weight of both image-space GAN losses")
    lambda_cyc: NonNegativeFloat = Field(5.0, description="weight of cycle consistency (equation 4)")
    lambda_identity: NonNegativeFloat = Field(0.0, description="weight of the identity loss; not in the paper")
    lambda_les: NonNegativeFloat = Field(
        50.0, description="weight of lesion consistency (equation 5); 0: no S_ori, S_rec"
    )
    lambda_fda: NonNegativeFloat = Field(15.0, description="weight of feature adaptation (equation 6); 0: no D_fusion")
    fda_scope: Literal["fusion", "features"] = Field(
        "fusion", description="what the feature loss moves: the shared fusion alone, or encoder and fusion"
    )
    matched: bool = Field(True, description="draw each slice's target among its pairs; false: at random")
    pairs_top: PositiveInt = Field(20, description="how many of a slice's pairs are drawn from")
    lr_generator: PositiveFloat = 2e-4
    lr_discriminator: PositiveFloat = 2e-4
    betas: Betas = (0.5, 0.99)
    lr_features: PositiveFloat = Field(2e-4, description="rate of D_fusion")
    betas_features: Betas = (0.5, 0.99)
    discriminator_width: PositiveInt = 64
    discriminator_norm: Literal["instance", "batch"] = "batch"
    discriminator_layers: PositiveInt = Field(3, le=5, description="normed layers of D_CT and D_MRI")
    features_width: PositiveInt = Field(64, description="width of D_fusion")
    lesion_width: PositiveInt = Field(64, description="width of S_ori and S_rec (FCN on VGG-16)")
    lesion_optimiser: Literal["sgd", "adam"] = "sgd"
    lr_lesion: PositiveFloat = 0.1
    lesion_momentum: float = Field(0.7, ge=0, lt=1)
    image_pool: NonNegativeInt = Field(0, description="earlier fakes kept for the discriminators")
    flip: bool = Field(False, description="mirror source and target together at random, left-right")
    clip_gradient: NonNegativeFloat = Field(0.0, description="norm to clip the generator's gradient to; 0: never")
    audit_slices: PositiveInt = Field(48, description="slices for the lesion audit of each epoch")


class AdaptationSettings(TrainingSettings):
    """Stage 2, equations (18) to (23); `lambda_adv=0` trains the segmenter on the source alone."""

    segmenter: str = Field("fcn", description="registered segmenter")
    segmenter_settings: dict[str, Any] = Field(default_factory=dict, description="settings of the segmenter")
    loss: Literal["bce", "bce+dice", "bce+dice+slice-dice"] = Field(
        "bce", description="segmentation loss (equation 20); slice-dice weighs small lesions like large ones"
    )
    gan: GanForm = Field("log", description="form of the adversary (equations 21, 22)")
    lambda_adv: NonNegativeFloat = Field(0.001, description="weight of the adversarial loss (equation 22)")
    matched: bool = Field(
        True, description="train on each target slice's most similar source slice; false: on all of the source"
    )
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: PositiveFloat = 0.1
    momentum: float = Field(0.7, ge=0, lt=1)
    lr_discriminator: PositiveFloat = 0.01
    betas_discriminator: Betas = (0.9, 0.99)
    discriminator_width: PositiveInt = 64
    freeze_batch_norm_on_target: bool = Field(True, description="batch norm in eval mode in the CT pass")
    recalibrate_batch_norm: NonNegativeInt = Field(
        0, description="source batches that batch norm's statistics are measured on after each epoch; 0: running ones"
    )
    freeze_batch_norm_from: NonNegativeInt = Field(
        0, description="epoch from which batch norm keeps its statistics, in training as in use; 0: never"
    )
    flip_probability: float = Field(0.5, ge=0, le=1, description="left-right and front-back flips of the source")
    brightness: float = Field(
        0.2, ge=0, lt=1, description="grey values of the source are multiplied by 1 +- this (0 to 255, background 0)"
    )
    brightness_shift: float = Field(
        0.0, ge=0, lt=1, description="grey values of the source are shifted by +- this share of the range"
    )
    lambda_adv_output: NonNegativeFloat = Field(
        0.0, description="weight of a second adversary, on the lesion probabilities; not in the paper"
    )
    contrast: float = Field(0.0, ge=0, lt=1, description="contrast change of the source, +- this share")
    noise: float = Field(0.0, ge=0, lt=1, description="largest deviation of noise on the source, share of the range")
    bias_field: float = Field(
        0.0, ge=0, lt=1, description="largest slow change of grey over a source slice, share of the range"
    )
    rotation_deg: float = Field(0.0, ge=0, le=180, description="source slices are turned by up to this")
    zoom: float = Field(0.0, ge=0, lt=0.5, description="source slices are made larger or smaller by up to this share")
    distractors: float = Field(
        0.0, ge=0, le=1, description="probability of an unlabelled bright rim, and of spots, in a source slice"
    )
    synthetic_haemorrhage: float = Field(
        0.0, ge=0, le=1, description="probability that a source lesion is repainted as fresh blood; pseudo-CT only"
    )
    lambda_consistency: NonNegativeFloat = Field(
        0.0, description="weight of self-training on CT with a mean teacher and hidden patches; not in the paper"
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="of the teacher's running mean, per step")
    consistency_from: NonNegativeInt = Field(2, description="epochs before the teacher's labels are used")
    pseudo_label_confidence: float = Field(
        0.8, ge=0.5, lt=1, description="probability from which a label is learnt from"
    )
    pseudo_label_contrast: float = Field(
        0.0, ge=0, lt=1, description="least brightness of a label over the brain, share of the range; 0: any"
    )
    copy_paste: float = Field(
        0.0,
        ge=0,
        le=1,
        description="probability that a source lesion is laid over a CT slice of self-training as fresh blood",
    )
    mask_ratio: float = Field(0.5, ge=0, lt=1, description="share of a CT slice that the student does not see")
    mask_patch: PositiveInt = Field(8, description="side of a hidden patch in pixels")
    selection: str = Field("last", description="label-free rule that chooses the checkpoint; see docs/selection.md")
    select_from: NonNegativeInt = Field(0, description="first epoch (from 0) that the rule may choose; the last always")
    validate_every: PositiveInt = Field(1, description="epochs between validations")
    keep_epochs: bool = Field(False, description="keep each validated epoch's weights in epochs/, to study the rules")
    clip_gradient: NonNegativeFloat = Field(0.0, description="norm to clip the segmenter's gradient to; 0: never")
