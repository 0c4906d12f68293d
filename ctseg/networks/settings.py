"""Sizes of the built-in networks as settings; no torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctseg.settings import Settings, unit

GanForm = Literal["log", "lsq"]
"""'log': cross-entropy of sigmoid(logits) (Goodfellow et al. 2014); 'lsq': least squares (Mao et al. 2017)."""

ImageGanForm = Literal["log", "minimax", "lsq"]
"""Forms of equation (2): 'minimax' as printed, log(1 - D(G(x))); 'log', -log D(G(x)); 'lsq'."""


class AmdGeneratorSettings(Settings):
    """The paper's generator with a shared fusion block."""

    width: int = Field(
        64, description="channels after the first convolution", ge=4, le=512, json_schema_extra=unit("channels")
    )
    growth: int = Field(
        12,
        description="channels that each dense layer of the fusion block adds",
        ge=1,
        le=128,
        json_schema_extra=unit("channels"),
    )
    layers: int = Field(
        5, description="dense layers of the fusion block", ge=1, le=32, json_schema_extra=unit("layers")
    )
    skip: bool = Field(
        True, description="decoder gets the encoder's output beside the fusion's (paper); false: released"
    )


class ResnetGeneratorSettings(Settings):
    """CycleGAN's generators."""

    width: int = Field(
        64, description="channels after the first convolution", ge=4, le=512, json_schema_extra=unit("channels")
    )
    blocks: int = Field(9, description="residual blocks", ge=1, le=32, json_schema_extra=unit("blocks"))


class FcnSettings(Settings):
    """The FCN on VGG-16."""

    width: int = Field(
        64,
        description="channels of the first VGG stage; 64 is VGG-16",
        ge=4,
        le=512,
        multiple_of=2,
        json_schema_extra=unit("channels"),
    )
    input_mean: float = Field(0.5, description="mean taken from images in [0, 1]; released stage 2: 0.074 for CT")
    input_std: float = Field(0.5, description="deviation of images in [0, 1]; released stage 2: 0.148 for CT", gt=0)
    initialisation: Literal["vgg", "normal"] = Field(
        "vgg", description="vgg: He for the VGG stages (released stage 2); normal: N(0, 0.02) (released stage 1)"
    )


class UNetSettings(Settings):
    """The U-Net of Table 5."""

    width: int = Field(
        64,
        description="channels after the stem, a multiple of 4",
        ge=4,
        le=512,
        multiple_of=4,
        json_schema_extra=unit("channels"),
    )
    depth: int = Field(4, description="poolings", ge=1, le=6, json_schema_extra=unit("poolings"))
    stem: Literal[1, 2] = Field(1, description="2: works at half the size, with 2 x 2 pixels as channels")
