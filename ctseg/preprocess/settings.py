"""Settings of preprocessing and of the built-in brain extractors; nothing heavy is imported here."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ctseg.implant.shares import CONTUSION_SHARE
from ctseg.settings import Settings, unit

SPLIT_NAMES = ("train", "val", "test")
WINDOW_HU = (0.0, 100.0)
"""HU that become 0 and 255 by default (decision 2)."""


class PreprocessSettings(Settings):
    """How scans become slices of one size, scale and grey range."""

    size: int = Field(
        240, description="height and width of a slice in pixels", ge=16, le=2048, json_schema_extra=unit("pixels")
    )
    fov_mm: float = Field(240.0, description="height and width of a slice in mm", gt=0, le=1000)
    window: tuple[float, float] = Field(
        WINDOW_HU, description="HU that become 0 and 255 (CT)", json_schema_extra=unit("HU")
    )
    brain_hu: float | None = Field(
        None, description="HU that every scan's median brain is shifted to before the window (CT); None: as scanned"
    )
    implants: int = Field(
        0,
        description="haematomas implanted into a CT scan at most; lesion in the masks; 0: none",
        ge=0,
        le=20,
        json_schema_extra=unit("haematomas"),
    )
    contusion_share: float = Field(
        CONTUSION_SHARE,
        description="contusions among implants of up to 25 mL",
        ge=0,
        le=1,
        json_schema_extra=unit("share"),
    )
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="brain percentiles that become 0 and 255 (MR)", json_schema_extra=unit("percent")
    )
    slices: tuple[int, int] | None = Field(
        None, description="first and end (not included) slice; None: all with brain", json_schema_extra=unit("slices")
    )
    min_brain_mm2: float = Field(1000.0, description="slices with less brain than this are left out", ge=0)
    select: str | None = Field(None, description="keep only slices with this slice label, e.g. intraparenchymal")
    lesion_labels: tuple[int, ...] | None = Field(
        None, description="label values that count as lesion, from 1 to 255; None: all above 0"
    )
    split: tuple[float, ...] = Field(
        (0.8, 0.2), description="shares of train, val and test patients", json_schema_extra=unit("share")
    )
    seed: int = Field(0, description="another seed gives another split", ge=0)
    brain_extractor: str = Field("muschelli", description="registered brain extractor (CT)")
    brain_extractor_settings: dict[str, Any] = Field(default_factory=dict, description="its settings")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("window", "percentiles"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name}: the first value must be below the second")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("percentiles: must lie between 0 and 100")
        if self.slices is not None and not 0 <= self.slices[0] < self.slices[1]:
            raise ValueError("slices: expected first:end with 0 <= first < end")
        if self.lesion_labels is not None and not all(1 <= value <= 255 for value in self.lesion_labels or (0,)):
            raise ValueError("lesion_labels: expected whole numbers from 1 to 255, as 1,2")
        self.fractions()
        return self

    @model_validator(mode="after")
    def _check_implants(self) -> Self:
        if self.contusion_share != CONTUSION_SHARE and not self.implants:
            raise ValueError("contusion_share: is of the implants, and there are none; add --set implants=4")
        return self

    def fractions(self) -> dict[str, float]:
        """Split name -> share; the shares must sum to 1."""
        shares = self.split
        if not 1 <= len(shares) <= len(SPLIT_NAMES) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError("split: one to three shares (train:val:test) that sum to 1, e.g. 0.8:0.2")
        return dict(zip(SPLIT_NAMES, shares, strict=False))

    @property
    def pixel_mm(self) -> float:
        """Width of a slice pixel in mm."""
        return self.fov_mm / self.size


class MuschelliSettings(Settings):
    """Brain extraction after Muschelli et al. 2017; lengths in mm, so they mean the same at any slice thickness."""

    hu: tuple[float, float] = Field(
        (0.0, 100.0), description="HU of brain, CSF and blood after smoothing", json_schema_extra=unit("HU")
    )
    smoothing_mm: float = Field(1.0, description="sigma of the in-plane Gaussian", ge=0, le=5)
    neck_mm: float = Field(5.0, description="passages narrower than twice this are cut (orbits, foramina)", gt=0, le=20)


class BrainNetworkSettings(Settings):
    """Brain extraction by the network; a model that was trained with one version of it keeps that version."""

    version: Literal["1"] = Field("1", description="which of the package's weights")
