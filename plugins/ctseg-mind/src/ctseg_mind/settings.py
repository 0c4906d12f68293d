"""Settings of the metric."""

from __future__ import annotations

from pydantic import Field

from ctseg.settings import Settings


class MindSettings(Settings):
    """MIND-SSC on shrunken slices."""

    size: int = Field(40, description="side of the shrunken slice in pixels", ge=8, le=256)
    radius: int = Field(1, description="half width of the patch that is compared, in pixels", ge=0, le=5)
    dilation: int = Field(2, description="distance of the neighbours, in pixels", ge=1, le=8)
    lambda_les: float = Field(
        1e-4, description="weight of the difference of the lesion areas, in pixels at 240 x 240 (equation 16)", ge=0
    )
    threshold: int = Field(120, description="of 255; above it an unlabelled pixel counts as lesion", ge=0, le=255)
