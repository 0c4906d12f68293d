"""Settings of the phantom cohort: how many patients, which matrices; what is physical is a constant of its module."""

from __future__ import annotations

from pydantic import Field

from ctseg.settings import Settings, unit


class PhantomSettings(Settings):
    """Size of the phantom cohort.

    Patient number i of a domain and split is the same for every cohort size, so a larger cohort only adds patients.
    """

    mr_patients: int = Field(
        24, ge=0, description="MR patients with glioma, labelled voxel by voxel", json_schema_extra=unit("patients")
    )
    ct_train_patients: int = Field(
        24,
        ge=0,
        description="CT patients of stage_2_train, labelled slice by slice",
        json_schema_extra=unit("patients"),
    )
    ct_test_patients: int = Field(
        12, ge=0, description="CT patients of stage_2_test, truth masks kept apart", json_schema_extra=unit("patients")
    )
    seed: int = Field(0, ge=0, description="seed of every random draw")
    mr_matrix: int = Field(
        240,
        ge=32,
        le=240,
        description="in-plane MR matrix over 240 mm; 240 is the MSD layout",
        json_schema_extra=unit("pixels"),
    )
    mr_slices: int = Field(
        155,
        ge=8,
        le=155,
        description="axial MR slices over 155 mm; 155 is the MSD layout",
        json_schema_extra=unit("slices"),
    )
    ct_matrix: int = Field(
        512,
        ge=64,
        le=512,
        description="CT matrix; 512 is the RSNA layout",
        multiple_of=4,
        json_schema_extra=unit("pixels"),
    )
    ct_slice_step_mm: float = Field(
        5.0, ge=3.0, le=20.0, description="usual distance of CT slices; larger for small tests"
    )
