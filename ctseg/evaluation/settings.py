"""What can be set about an evaluation."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from pydantic import Field

from ctseg.metrics.pair import NSD_TOLERANCE_MM
from ctseg.settings import Settings, unit


class Draws(TypedDict):
    """Keyword arguments of the bootstrap."""

    resamples: int
    level: float
    seed: int


class EvaluationSettings(Settings):
    """Settings of `ctseg evaluate`."""

    nsd_tolerance_mm: float = Field(
        default=NSD_TOLERANCE_MM, gt=0, description="a surface this near in mm counts as met"
    )
    min_lesion_ml: float = Field(
        default=0.0, ge=0, description="smaller lesions count nowhere in the lesion-wise numbers"
    )
    detection_ml: float = Field(
        default=0.0, ge=0, description="a case or slice is haemorrhage-positive if more than this is predicted"
    )
    reference_labels: tuple[int, ...] = Field(
        default=(), description="values of the reference that are the lesion; empty: all above 0"
    )
    prediction_labels: tuple[int, ...] = Field(
        default=(), description="values of the prediction that are the lesion; empty: all above 0"
    )
    missing: Literal["exclude", "empty"] = Field(
        default="exclude",
        description="a reference without a prediction: a failed case in no number, or scored as an empty mask",
    )
    grid_tolerance_mm: float = Field(
        default=0.1, gt=0, description="voxel centres of prediction and reference may differ by this much"
    )
    resamples: int = Field(
        default=2000, ge=100, description="bootstrap resamples of the patients", json_schema_extra=unit("resamples")
    )
    permutations: int = Field(
        default=10000, ge=100, description="permutations of the paired test", json_schema_extra=unit("permutations")
    )
    level: float = Field(
        default=0.95, gt=0.5, lt=1, description="level of the intervals", json_schema_extra=unit("share")
    )
    range_level: float = Field(
        default=0.9,
        gt=0,
        lt=1,
        description="share of patients that a calibrated range of volumes is to hold",
        json_schema_extra=unit("share"),
    )
    seed: int = Field(default=0, ge=0, description="of the resamples and permutations")
    metric_settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings of metrics, as metric_settings.NAME.KEY=VALUE"
    )
    pictured_cases: int = Field(
        default=3,
        ge=0,
        le=50,
        description="worst and best cases shown in the report, this many of each",
        json_schema_extra=unit("cases"),
    )

    def draws(self) -> Draws:
        """What every bootstrap needs to know."""
        return {"resamples": self.resamples, "level": self.level, "seed": self.seed}
