"""Typed settings of `ctseg segment`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from ctseg.settings import Settings, unit


class SegmentSettings(Settings):
    """How probabilities become masks, and what is written of them."""

    threshold: float = Field(
        0.5, gt=0, lt=1, description="probability from which a voxel is lesion", json_schema_extra=unit("probability")
    )
    min_lesion_ml: NonNegativeFloat = Field(0.0, description="lesions (26 neighbours) smaller than this are dropped")
    faint_hu: float | None = Field(
        None,
        ge=0,
        le=50,
        description="where no lesion has 1 mL, those fewer HU above the brain's median are dropped; default: as the "
        "model's card says, 0 without",
        json_schema_extra=unit("HU"),
    )
    grow_mm: float | None = Field(
        None,
        ge=0,
        le=10,
        description="how far a lesion of 1 mL or more grows within its slices into brain that is nearer in HU to its "
        "blood than to the brain; default: as the model's card says, 0 without",
        json_schema_extra=unit("mm"),
    )
    range_factor: NonNegativeFloat = Field(
        0.0,
        description="widens ml_low..ml_high to a calibrated range; `ctseg evaluate` finds it; 0: the members' range",
    )
    batch_size: PositiveInt = Field(
        8, description="slices in one pass of the network", json_schema_extra=unit("slices")
    )
    tta: bool | None = Field(
        None,
        description="average over the image and its left-right, front-back and double mirror image; default: as the "
        "model's card says, no without",
    )
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="arithmetic of the network")
    engine: Literal["torch", "ncnn"] = Field(
        "torch", description="what runs the network; ncnn: U-Net and FCN on the CPU, in float32, faster (ctseg[ncnn])"
    )
    probabilities: bool = Field(False, description="also write probabilities/CASE.nii.gz")
    dicom_seg: bool = Field(True, description="write CASE.dcm (DICOM SEG) for DICOM input")
    resampled: bool = Field(True, description="and CASE_resampled.dcm of tilted or uneven series, for 3D Slicer")
    coarse_brain: bool = Field(False, description="find the brain on every second row and column")
    label_tables: bool = Field(False, description="write labels.tsv, .ctbl and .label: the mask's values for viewers")
    rtstruct: bool = Field(False, description="write CASE_rtstruct.dcm (DICOM RT structure set) for DICOM input")
    sr: bool = Field(False, description="write CASE_sr.dcm (DICOM SR: measurements and a summary) for DICOM input")
    deidentify: bool = Field(
        False, description="no text of the source passes: digests as case names, a pseudonym in the DICOM SEG"
    )
    recovery: bool = Field(False, description="put known haematomas into the head and say how much of them comes back")
    recovery_hu: float = Field(
        52.0, ge=40, le=90, description="mean HU of these haematomas", json_schema_extra=unit("HU")
    )
    other_blood: bool = Field(
        False, description="also segment blood in ventricles, cisterns and sulci, under and over the dura"
    )
    other_threshold: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="probability from which a voxel is other blood",
        json_schema_extra=unit("probability"),
    )
    min_other_ml: NonNegativeFloat = Field(
        1.0, description="pieces of other blood (26 neighbours) with less than this from 0.5 on are dropped"
    )
    preview: bool = Field(True, description="write CASE.png")
    preview_3d: bool = Field(True, description="and 3d/CASE.png with it: the lesion in the brain from three sides")
