"""Sizes of the networks as settings; nothing heavy is imported here."""

from __future__ import annotations

from pydantic import Field

from ctseg.settings import Settings

HELP_HIDDEN = "channels of the full-size map that the domain discriminator sees"
HELP_DROPOUT = "share of activations dropped in training"


class UNetSettings(Settings):
    """Encoder and decoder with a skip at each of the `depth` halvings."""

    width: int = Field(32, description="channels at full size, doubled at each halving", ge=4, le=256)
    depth: int = Field(4, description="halvings", ge=1, le=6)
    hidden: int = Field(32, description=HELP_HIDDEN, ge=1, le=512)
    dropout: float = Field(0.0, description=HELP_DROPOUT, ge=0, lt=1)


class ResidualUNetSettings(UNetSettings):
    """The U-Net whose blocks are residual units."""

    residual_units: int = Field(2, description="convolutions in each residual unit; 0: plain blocks", ge=0, le=4)


class SegResNetSettings(Settings):
    """Blocks of the encoder: 1, 2, 2, 4, as in the paper; one at each level of the decoder."""

    width: int = Field(32, description="channels at full size, doubled at each halving", ge=8, le=256, multiple_of=8)
    hidden: int = Field(32, description=HELP_HIDDEN, ge=1, le=512)
    dropout: float = Field(0.0, description=HELP_DROPOUT, ge=0, lt=1)


class SwinUnetrSettings(Settings):
    """Four stages of two Swin blocks with 3, 6, 12 and 24 heads."""

    width: int = Field(
        24, description="channels of the first stage, doubled at each further one", ge=12, le=192, multiple_of=12
    )
    window: int = Field(7, description="side of the attention window in patches of 2 x 2 pixels", ge=2, le=16)
    hidden: int = Field(32, description=HELP_HIDDEN, ge=1, le=512)
    dropout: float = Field(0.0, description=HELP_DROPOUT, ge=0, lt=1)


MODELS: dict[str, type[Settings]] = {
    "monai-unet": ResidualUNetSettings,
    "monai-attention-unet": UNetSettings,
    "monai-segresnet": SegResNetSettings,
    "monai-swin-unetr": SwinUnetrSettings,
}
