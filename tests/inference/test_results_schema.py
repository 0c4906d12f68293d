"""The published JSON Schema fits what is written, and the label tables name the mask's values."""

from __future__ import annotations

import json

import jsonschema
import nibabel as nib
import numpy as np
import pytest
from segment_helpers import Head, NonAirIsBrain, Stack, bright_models, write_dicom, write_nifti

import ctseg
from ctseg.inference.label_tables import TABLES
from ctseg.inference.results import COLUMNS
from ctseg.inference.scans import find_scans
from ctseg.inference.segment import segment_cases, unreadable_rows
from ctseg.inference.settings import SegmentSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A segmentation of a DICOM series, a head without a bleed and a broken file, with test-time flips."""
    place = tmp_path_factory.mktemp("results")
    scans = place / "scans"
    scans.mkdir()
    write_dicom(scans / "series", Stack(np.arange(0, 64, 4.0), 0.0), Head())
    write_nifti(scans / "none.nii.gz", Head(blood_mm=(0.01, 0.01, 0.01)))
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    found = find_scans([scans])
    segment_cases(
        found.cases, bright_models(), place / "out", SegmentSettings(tta=True, preview=False, label_tables=True),
        extractor=NonAirIsBrain(), unreadable=unreadable_rows([item for item in found.rejected if item.broken]),
    )  # fmt: skip
    return place / "out"


def test_what_is_written_fits_the_schema(folder):
    schema, written = ctseg.results_schema(), json.loads((folder / "volumes.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(written)
    assert {(row["status"], bool(row["ml"])) for row in written["cases"]} >= {("ok", True), ("failed", False)}
    for change in (
        {"ml": "12"},
        {"ml": None},
        {"status": "done"},
        {"lesions": -1},
        {"patient": "Doe"},
        {"error": "no"},
    ):
        first = {**written["cases"][0], **change}
        assert not validator.is_valid({**written, "cases": [first]}), change


def test_the_schema_has_the_columns_of_the_table():
    case = ctseg.results_schema()["$defs"]["case"]
    assert (*COLUMNS, "resumed") == tuple(case["properties"])
    assert case["required"] == list(COLUMNS)


def test_label_tables_name_the_value_of_the_mask(folder):
    tables = {name: (folder / name).read_text() for name in TABLES}
    for text in tables.values():
        assert [line.split("\t")[0].split()[0] for line in text.splitlines() if "aemorrhage" in line] == ["1"]
    assert tables["labels.tsv"].splitlines()[0].split("\t")[:2] == ["index", "name"]
    for path in folder.glob("*.nii.gz"):
        assert nib.load(path).header.get_intent()[0] == "label"
