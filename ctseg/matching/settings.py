"""Settings of the built-in metrics."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ctseg.settings import Settings, unit

ScaledSize = Annotated[
    int,
    Field(
        description="side of the scaled image before the cosine transform, (8)",
        ge=8,
        le=512,
        json_schema_extra=unit("pixels"),
    ),
]


class HashMetricSettings(Settings):
    """A metric on a fingerprint of the imagehash package."""

    lambda_ham: float = Field(100.0, description="pixels that one differing fingerprint bit weighs, (17)", ge=0)
    threshold: int = Field(
        120,
        description="of 255; above it an unlabelled pixel counts as lesion",
        ge=0,
        le=255,
        json_schema_extra=unit("grey"),
    )


class AmdMetricSettings(HashMetricSettings):
    """The paper's metric, equations (8)-(17)."""

    size: ScaledSize = 32


class NormalisedMetricSettings(Settings):
    """The paper's metric in shares and ranks."""

    lambda_ham: float = Field(1.0, description="weight of the share of differing fingerprint bits", ge=0)
    lambda_les: float = Field(1.0, description="weight of the difference of lesion ranks", ge=0)
    bright: float = Field(
        4.0, description="unlabelled lesion: brain above median + this * (upper quartile - median) of its set", gt=0
    )
    size: ScaledSize = 32
