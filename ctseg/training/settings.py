"""Typed settings of the trainings, in groups of what they belong to.

`ctseg.training.presets` has what each preset sets, and why. Names are flat, for `--set key=value`; pydantic orders
them from the last group to the first. A group bounds its settings, and `without_effect` says which of them change
nothing under the others; `ctseg.training.resolve` refuses or drops those, so that a run records only what it uses.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ctseg.networks.settings import GanForm, ImageGanForm
from ctseg.settings import Settings, unit

Betas = tuple[float, float]
Probability = Annotated[float, Field(ge=0, le=1, json_schema_extra=unit("probability"))]
Share = Annotated[float, Field(ge=0, lt=1, json_schema_extra=unit("share"))]
Slices = Annotated[PositiveInt, Field(json_schema_extra=unit("slices"))]
Channels = Annotated[PositiveInt, Field(json_schema_extra=unit("channels"))]
Epochs = Annotated[PositiveInt, Field(json_schema_extra=unit("epochs"))]
AnyEpochs = Annotated[NonNegativeInt, Field(json_schema_extra=unit("epochs"))]
Epoch = Annotated[NonNegativeInt, Field(json_schema_extra=unit("epoch"))]
"""Counted from 0."""
Reasons = dict[str, str]
"""Setting -> the setting under which it has no effect, as `lambda_adv=0`."""


class TrainingSettings(Settings):
    """The schedule, which all trainings share."""

    batch_size: Slices = Field(2, description="source slices (and as many target slices) in one step")
    epochs: Epochs = Field(100, description="epochs at the full learning rate")
    decay_epochs: AnyEpochs = Field(0, description="further epochs with the rate falling linearly to 0")
    steps_per_epoch: PositiveInt | None = Field(
        None, description="steps an epoch; default: each source slice once", json_schema_extra=unit("steps")
    )

    @property
    def total_epochs(self) -> int:
        """At the full rate and at the falling one."""
        return self.epochs + self.decay_epochs

    def without_effect(self) -> Reasons:
        """Settings that change nothing under the others."""
        return {}


class OutputSettings(Settings):
    """What a training writes, and how fast it is; none of these, or of the groups below, changes a weight."""

    checkpoint_every: Epochs = Field(1, description="epochs between checkpoints")
    channels_last: bool = Field(True, description="memory layout that makes convolutions faster; no other effect")


class SampleOutputSettings(OutputSettings):
    """What both stages write."""

    sample_every: Epochs = Field(1, description="epochs between pictures in samples/")


class SynthesisOutputSettings(SampleOutputSettings):
    """What stage 1 writes."""

    audit_slices: Slices = Field(48, description="slices for the lesion audit of each epoch")


class AdaptationOutputSettings(SampleOutputSettings):
    """What stage 2 writes."""

    validate_every: Epochs = Field(
        1, description="epochs between validations; a selection rule chooses among the validated epochs"
    )
    keep_epochs: bool = Field(False, description="keep each validated epoch's weights in epochs/, to study the rules")


OUTPUT = frozenset({*SynthesisOutputSettings.model_fields, *AdaptationOutputSettings.model_fields})
"""Names of all output settings."""


class PairSettings(Settings):
    """Which slices meet."""

    source_split: str = Field("train", description="split of the source set to train on; 'all' for every slice")
    target_split: str = Field("train", description="split of the target set to train on; 'all' for every slice")


class SynthesisSettings(SynthesisOutputSettings, PairSettings, TrainingSettings):
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
    lambda_les: NonNegativeFloat = Field(50.0, description="weight of the lesion loss (equation 5); 0: no S_ori, S_rec")
    lambda_fda: NonNegativeFloat = Field(15.0, description="weight of feature adaptation (equation 6); 0: no D_fusion")
    fda_scope: Literal["fusion", "features"] = Field(
        "fusion", description="what the feature loss moves: the shared fusion alone, or encoder and fusion"
    )
    fda_features: Literal["before", "after"] = Field(
        "before", description="D_fusion learns from the fusion block as it is before or after its update (released)"
    )
    matched: bool = Field(True, description="draw each slice's target among its pairs; false: at random")
    pairs_top: PositiveInt = Field(
        20, description="how many of a slice's pairs are drawn from", json_schema_extra=unit("pairs")
    )
    lr_generator: PositiveFloat = Field(2e-4, description="learning rate of both generators (Adam)")
    lr_discriminator: PositiveFloat = Field(2e-4, description="learning rate of D_CT and D_MRI")
    betas: Betas = Field((0.5, 0.99), description="Adam's betas of the generators, D_CT and D_MRI")
    lr_features: PositiveFloat = Field(2e-4, description="rate of D_fusion")
    betas_features: Betas = Field((0.5, 0.99), description="Adam's betas of D_fusion")
    discriminator_width: Channels = Field(64, description="channels of the first layer of D_CT and D_MRI")
    discriminator_norm: Literal["instance", "batch"] = Field("batch", description="normalisation in D_CT and D_MRI")
    discriminator_layers: PositiveInt = Field(
        3, le=5, description="normed layers of D_CT and D_MRI", json_schema_extra=unit("layers")
    )
    features_width: Channels = Field(64, description="width of D_fusion")
    lesion_width: Channels = Field(64, description="width of S_ori and S_rec (FCN on VGG-16)")
    lesion_initialisation: Literal["vgg", "normal"] = Field(
        "vgg", description="first weights of S_ori and S_rec; normal: N(0, 0.02) everywhere, as released"
    )
    lesion_optimiser: Literal["sgd", "adam"] = Field("sgd", description="optimiser of S_ori and S_rec")
    lr_lesion: PositiveFloat = Field(0.1, description="learning rate of S_ori and S_rec")
    lesion_momentum: float = Field(0.7, ge=0, lt=1, description="momentum of S_ori and S_rec (sgd)")
    image_pool: NonNegativeInt = Field(
        0, description="earlier fakes kept for the discriminators", json_schema_extra=unit("images")
    )
    flip: bool = Field(False, description="mirror source and target together at random, left-right")
    clip_gradient: NonNegativeFloat = Field(0.0, description="norm to clip the generator's gradient to; 0: never")

    def without_effect(self) -> Reasons:
        """Settings of the helper networks of a term whose weight is 0, and of pairs that are not drawn from."""
        reasons: Reasons = {}
        if not self.lambda_gan:
            gan = ("gan", "lr_discriminator", "discriminator_width", "discriminator_norm", "discriminator_layers")
            reasons |= dict.fromkeys((*gan, "image_pool"), "lambda_gan=0")
        if not self.lambda_fda:
            features = ("gan_features", "fda_scope", "fda_features", "lr_features", "betas_features", "features_width")
            reasons |= dict.fromkeys(features, "lambda_fda=0")
        if self.lesion_optimiser == "adam":
            reasons["lesion_momentum"] = "lesion_optimiser=adam"
        if not self.lambda_les:
            lesion = ("lesion_width", "lesion_initialisation", "lesion_optimiser", "lr_lesion", "lesion_momentum")
            reasons |= dict.fromkeys(lesion, "lambda_les=0")
        if not self.matched:
            reasons["pairs_top"] = "matched=false"
        return reasons


class SegmenterSettings(TrainingSettings):
    """The segmenter, its loss and its optimiser."""

    segmenter: str = Field("fcn", description="registered segmenter")
    segmenter_settings: dict[str, Any] = Field(default_factory=dict, description="settings of the segmenter")
    loss: Literal["bce", "bce+dice", "bce+dice+slice-dice"] = Field(
        "bce", description="segmentation loss (equation 20); slice-dice weighs small lesions like large ones"
    )
    lesion_share: Probability = Field(
        0.0, description="share of each batch's source slices that show a lesion; 0: as they come"
    )
    optimiser: Literal["sgd", "adam"] = Field("sgd", description="optimiser of the segmenter")
    lr: PositiveFloat = Field(0.1, description="learning rate of the segmenter")
    momentum: float = Field(0.7, ge=0, lt=1, description="momentum of the segmenter (sgd)")
    clip_gradient: NonNegativeFloat = Field(0.0, description="norm to clip the segmenter's gradient to; 0: never")
    weight_average: float = Field(
        0.0, ge=0, lt=1, description="keep the running mean of the weights, with this decay per step; 0: the last ones"
    )

    def without_effect(self) -> Reasons:
        """Momentum, where Adam has its own."""
        return {"momentum": "optimiser=adam"} if self.optimiser == "adam" else {}


class BatchNormSettings(TrainingSettings):
    """Which statistics batch norm uses."""

    recalibrate_batch_norm: NonNegativeInt = Field(
        0,
        description="source batches that batch norm's statistics are measured on after each epoch; 0: running ones",
        json_schema_extra=unit("batches"),
    )
    freeze_batch_norm_from: Epoch = Field(
        0, description="epoch from which batch norm keeps its statistics, in training as in use; 0: never"
    )

    def without_effect(self) -> Reasons:
        """An epoch to freeze from that never comes."""
        late = self.freeze_batch_norm_from >= self.total_epochs
        return {"freeze_batch_norm_from": f"epochs + decay_epochs={self.total_epochs}"} if late else {}


class AugmentationSettings(Settings):
    """How source slices are moved and their grey values changed; fit for every labelled slice."""

    flip_probability: Probability = Field(0.5, description="left-right and front-back flips of the source")
    brightness: Share = Field(
        0.2, description="grey values of the source are multiplied by 1 +- this (0 to 255, background 0)"
    )
    brightness_shift: Share = Field(0.0, description="greys of the source are shifted by +- this share of the range")
    contrast: Share = Field(0.0, description="contrast change of the source, +- this share")
    noise: Share = Field(0.0, description="largest deviation of noise on the source, share of the range")
    bias_field: Share = Field(0.0, description="largest slow change of grey over a source slice, share of the range")
    edge_erosion: Share = Field(
        0.0, description="the mask leaves out up to this much of a source brain's edge, share of the width"
    )
    edge_brightening: Share = Field(
        0.0, description="source brain beside bone gets brighter by up to this share of the range"
    )
    end_brightening: Share = Field(
        0.0, description="source slices with little brain get brighter by up to this share of the range"
    )
    streaks: Share = Field(0.0, description="largest amplitude of streaks on the source, share of the range")
    sharpness: Share = Field(0.0, description="the source is blurred or sharpened by up to this share")
    rotation_deg: float = Field(0.0, ge=0, le=180, description="source slices are rotated by up to this")
    zoom: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="source slices are made larger or smaller by up to this share",
        json_schema_extra=unit("share"),
    )


class SourceNormalisationSettings(Settings):
    """Where MR or pseudo-CT, in [0, 1], is normalised otherwise than CT, by the segmenter's input_mean and _std."""

    source_mean: float | None = Field(None, description="mean taken from MR or pseudo-CT; default: input_mean")
    source_std: float | None = Field(None, description="deviation of MR or pseudo-CT; default: input_std", gt=0)


class PaintingSettings(Settings):
    """What is painted into source slices: for pseudo-CT, whose lesions are no haemorrhages."""

    distractors: Probability = Field(
        0.0, description="probability of an unlabelled bright rim, and of spots, in a source slice"
    )
    synthetic_haemorrhage: Probability = Field(
        0.0, description="probability that a source lesion is repainted as fresh blood; pseudo-CT only"
    )


class AdversarySettings(Settings):
    """The discriminators of domains, equations (21) and (22)."""

    lambda_adv: NonNegativeFloat = Field(0.001, description="weight of the adversarial loss (equation 22)")
    lambda_adv_output: NonNegativeFloat = Field(
        0.0, description="weight of a second adversary, on the lesion probabilities; not in the paper"
    )
    gan: GanForm = Field("log", description="form of the adversary (equations 21, 22)")
    lr_discriminator: PositiveFloat = Field(0.01, description="learning rate of the discriminators")
    betas_discriminator: Betas = Field((0.9, 0.99), description="Adam's betas of the discriminators")
    discriminator_width: Channels = Field(64, description="channels of the discriminators' first layer")

    def without_effect(self) -> Reasons:
        """All but the weights, where there is no adversary."""
        if self.lambda_adv or self.lambda_adv_output:
            return {}
        return dict.fromkeys(("gan", "lr_discriminator", "betas_discriminator", "discriminator_width"), "lambda_adv=0")


class ConsistencySettings(Settings):
    """Self-training on CT with a mean teacher and masked views; not in the paper."""

    lambda_consistency: NonNegativeFloat = Field(
        0.0, description="weight of consistency with a mean teacher on masked CT slices; not in the paper"
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="of the teacher's running mean, per step")
    ema_warmup: bool = Field(False, description="let ema_decay rise with the steps, so that first weights fade")
    consistency_from: AnyEpochs = Field(2, description="epochs before the teacher's pseudo-labels are used")
    pseudo_label_confidence: float = Field(
        0.8,
        ge=0.5,
        lt=1,
        description="probability from which a pseudo-label is used",
        json_schema_extra=unit("probability"),
    )
    pseudo_label_contrast: Share = Field(
        0.0, description="least brightness of a pseudo-label over the brain, share of the range; 0: any"
    )
    copy_paste: Probability = Field(
        0.0, description="probability that a source lesion is pasted into a CT slice as fresh blood"
    )
    mask_ratio: Share = Field(0.5, description="share of a CT slice that the student does not see")
    mask_patch: PositiveInt = Field(8, description="side of a masked patch in pixels", json_schema_extra=unit("pixels"))

    def without_effect(self) -> Reasons:
        """All but the weight, where there is no teacher; the patch, where nothing is masked.

        Where there is one, it is kept, and it is a running mean already.
        """
        if not self.lambda_consistency:
            rest = ConsistencySettings.model_fields.keys() - {"lambda_consistency"}
            return dict.fromkeys(rest, "lambda_consistency=0")
        averaged = {"weight_average": f"lambda_consistency={self.lambda_consistency:g}"}
        return averaged if self.mask_ratio else {**averaged, "mask_patch": "mask_ratio=0"}


class SelectionSettings(Settings):
    """The label-free choice of the checkpoint."""

    selection: str = Field("last", description="label-free rule that chooses the checkpoint; see docs/selection.md")
    select_from: Epoch = Field(0, description="first epoch (from 0) that the rule may choose; the last always")

    def without_effect(self) -> Reasons:
        """The first epoch, where the last is taken anyway."""
        return {"select_from": "selection=last"} if self.selection == "last" else {}


class FinetuneSettings(OutputSettings, AugmentationSettings, BatchNormSettings, SegmenterSettings):
    """Supervised training on labelled CT: nothing is painted into it, and there is no target."""

    def without_effect(self) -> Reasons:
        """Of every group."""
        return SegmenterSettings.without_effect(self) | BatchNormSettings.without_effect(self)


class AdaptationSettings(
    AdaptationOutputSettings, SelectionSettings, ConsistencySettings, AdversarySettings, PaintingSettings,
    SourceNormalisationSettings, AugmentationSettings, BatchNormSettings, PairSettings, SegmenterSettings,
):  # fmt: skip
    """Stage 2, equations (18) to (23); `lambda_adv=0` trains the segmenter on the source alone."""

    matched: bool = Field(
        True, description="train on each target slice's most similar source slice; false: on all of the source"
    )
    freeze_batch_norm_on_target: bool = Field(True, description="batch norm in eval mode in the CT pass")

    @property
    def uses_target(self) -> bool:
        """Whether any term looks at the target."""
        return bool(self.lambda_adv or self.lambda_adv_output or self.lambda_consistency)

    def without_effect(self) -> Reasons:
        """Of every group, and what concerns a target that no term, rule or pair looks at."""
        groups = (SegmenterSettings, BatchNormSettings, AdversarySettings, ConsistencySettings, SelectionSettings)
        reasons: Reasons = {}
        for group in groups:
            reasons |= group.without_effect(self)
        if not self.uses_target:
            reasons["freeze_batch_norm_on_target"] = "lambda_adv=0"
            if self.selection in ("last", "source_val") and not self.matched:
                reasons["target_split"] = f"lambda_adv=0 and selection={self.selection}"
        return reasons
