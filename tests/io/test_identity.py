"""Who a scan's patient is, by the names that public data sets give."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from ctseg.io.case import safe_name
from ctseg.io.identity import case_name, folded, patient_of, patient_of_file, patient_rule, patients_of, pseudonym
from ctseg.preprocess.labels import read_splits

SAME = [
    ("BraTS-GLI-00004-100", "BraTS-GLI-00004-101", "BraTS-GLI-00005-100"),
    ("BraTS-MET-00012-000", "BraTS-MET-00012-001", "BraTS-GLI-00012-000"),
    ("BraTS19_CBICA_AAB_1", "BraTS19_CBICA_AAB_2", "BraTS19_CBICA_AAG_1"),
    ("Brats18_CBICA_AAB_1", "BraTS19_CBICA_AAB_1", "BraTS19_CBICA_ABB_1"),
    ("BraTS19_2013_10_1", "BraTS19_2013_10_2", "BraTS19_2013_1_1"),
    ("Brats18_TCIA01_147_1", "Brats18_TCIA01_147_2", "Brats18_TCIA01_14_1"),
    ("BraTS20_Training_001", "BraTS20_Training_001-ab12cd", "BraTS20_Training_002"),
    ("BraTS20_Training_001", "BraTS20_Training_001", "BraTS20_Validation_001"),
    ("BraTS2021_00001", "BraTS2021_00001", "BraTS2021_00002"),
    ("sub-01_ses-01", "sub-01_ses-02", "sub-012_ses-01"),
    ("sub-01_ses-01_FLAIR", "sub-01", "sub-02"),
    ("BRATS_001", "BRATS_001_0000", "BRATS_002"),
    ("UCSF-PDGM-0004", "UCSF-PDGM-0004_FU001d", "UCSF-PDGM-0041"),
    ("TCGA-02-0003", "TCGA-02-0003_1997.06.08", "TCGA-02-0006"),
    ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21", "UPENN-GBM-00002_11"),
    ("Patient-001_week-000", "Patient-001_week-044-1", "Patient-010_week-000"),
    ("Patient-001 week-000", "Patient-001 week-044", "Patient-002 week-000"),
    ("OAS30001_MR_d0129", "OAS30001_MR_d0757", "OAS30002_MR_d0129"),
    ("training01_01", "training01_02", "training02_01"),
    ("PatientID_0003_Timepoint_1", "PatientID_0003_Timepoint_2", "PatientID_0004_Timepoint_1"),
    ("anna_visit2", "anna_baseline", "bert_visit2"),
    (case_name("12345", "1.2.3"), case_name("12345", "1.2.4") + "-2", case_name("12346", "1.2.3")),
]


@pytest.mark.parametrize(("one", "other", "stranger"), SAME)
@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_scans_of_one_patient_have_one_and_other_patients_another(one: str, other: str, stranger: str, change) -> None:
    patients = patients_of([one, change(other), change(stranger)])
    assert patients[one] == patients[change(other)]
    assert patients[one] != patients[change(stranger)]
    assert patient_of(one) is not None


@pytest.mark.parametrize("name", ["scan1", "001", "head_7", "brats-like", "P0123_456", "patients", "subject", "week-3"])
def test_other_names_are_nobody_we_know(name: str) -> None:
    assert patient_of(name) is None
    assert patients_of([name]) == {name: name}


def test_a_dicom_name_gives_the_pseudonym() -> None:
    assert patient_of(case_name("12345", "1.2.3")) == pseudonym("12345")


def test_folders_tell_where_the_file_does_not() -> None:
    assert patient_of_file(Path("Patient-001/week-000-1/FLAIR.nii.gz"), "week-000-1_FLAIR") == (
        "LUMIERE",
        "Patient-001",
    )
    assert patient_of_file(Path("sub-01/ses-02/anat/flair.nii.gz"), "flair") == ("BIDS", "sub-01")
    assert patient_of_file(Path("BRATS_2019/HGG/a.nii.gz"), "a") is None
    assert patient_of_file(Path("sub-07/UPENN-GBM-00001_11.nii.gz"), "UPENN-GBM-00001_11")[1] == "UPENN-GBM-00001"


def test_the_rule_says_what_is_not_known() -> None:
    alone = "each case is a patient of its own; give --splits where a patient has several"
    assert patient_rule([None, None], "--splits") == alone
    assert patient_rule(["BIDS", "BIDS"], "--splits") == "patients from BIDS case names"
    some = patient_rule(["BIDS", None], "--x")
    assert some == "patients from BIDS case names for 1 cases, the other 1 a patient each"


@pytest.mark.parametrize("name", ["Jos\u00e9", "M\u00fcller", "\u00c5sa", "\ud55c\uc720\ub098"])
def test_letters_that_a_mac_has_taken_apart_are_the_same_patient(name: str, tmp_path: Path) -> None:
    visits = [f"{unicodedata.normalize(form, name)}_visit{number}" for number, form in ((1, "NFC"), (2, "NFD"))]
    assert len(set(patients_of([*visits, "other_visit1"]).values())) == 2
    table = tmp_path / "splits.csv"
    table.write_text(f"patient_id,split\n{unicodedata.normalize('NFD', name)},test\n", encoding="utf-8")
    assert read_splits(table, patients_of(visits)) == {patients_of(visits)[visits[0]]: "test"}


@pytest.mark.parametrize(
    "name", ["Jos\u00e9", "\u00d8ystein", "\ud55c\uc720\ub098", "\u674e\u5a1c", "\u0410\u043d\u043d\u0430"]
)
@pytest.mark.parametrize("place", ["{}.nii.gz", "{}/flair.nii.gz"])
def test_a_name_in_other_letters_is_one_patient_and_nobody_elses(name: str, place: str) -> None:
    names = [name, unicodedata.normalize("NFD", name), name.upper(), f"{name}a", "Jos", "ystein"]
    files = [Path("scans", place.format(f"{text}_visit{number}")) for number, text in enumerate(names)]
    found = [patient_of_file(file, safe_name(file.name.removesuffix(".nii.gz"))) for file in files[:4]]
    patients = [item[1] for item in found if item is not None]
    assert len(patients) == 4
    assert len(set(map(folded, patients[:3]))) == 1
    others = [patients[3], *(text for text in names[4:])]
    assert folded(patients[0]) not in map(folded, others)
    assert all(text.isascii() for text in patients)


def test_names_with_bytes_that_are_no_utf8_stay_other_names() -> None:
    """`k\xf6pf` and `k\xe4pf` of a Latin-1 disk are no `k_pf`, and no one another."""
    names = [safe_name(os.fsdecode(name)) for name in (b"k\xf6pf", b"k\xe4pf", b"k_pf")]
    assert len(set(names)) == 3
    assert names[2] == "k_pf"
    assert all(name.startswith("k_pf-") and name.isascii() for name in names[:2])
