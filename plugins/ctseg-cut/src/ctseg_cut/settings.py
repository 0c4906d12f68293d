"""Settings of the generator and of its objective; torch is not imported here."""

from __future__ import annotations

from pydantic import Field

from ctseg.settings import Settings


class CutSettings(Settings):
    """CUT; the defaults are those of the code Park et al. released."""

    width: int = Field(64, description="channels after the first convolution", ge=4, le=512)
    blocks: int = Field(9, description="residual blocks", ge=1, le=32)
    lambda_nce: float = Field(1.0, description="weight of the contrastive loss; 10 in FastCUT", ge=0)
    identity: bool = Field(True, description="CT given to the generator has to keep its patches too; false in FastCUT")
    patches: int = Field(256, description="patches compared in each slice and layer", ge=2, le=4096)
    head_width: int = Field(256, description="length of a patch's feature", ge=2, le=2048)
    temperature: float = Field(0.07, description="of the contrastive loss", gt=0, le=10)
