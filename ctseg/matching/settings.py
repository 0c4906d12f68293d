"""Settings of the built-in metrics."""

from __future__ import annotations

from pydantic import Field

from ctseg.settings import Settings


class HashMetricSettings(Settings):
    """A metric on a fingerprint of the imagehash package."""

    lambda_ham: float = Field(100.0, description="pixels that one differing fingerprint bit weighs, (17)", ge=0)
    threshold: int = Field(120, description="of 255; above it an unlabelled pixel counts as lesion", ge=0, le=255)


class AmdMetricSettings(HashMetricSettings):
    """The paper's metric, equations (8)-(17)."""

    size: int = Field(32, description="side of the scaled image before the cosine transform, (8)", ge=8, le=512)
