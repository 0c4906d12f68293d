"""CT patients on disk in the RSNA 2019 layout: flat DICOM files, slice labels, truth kept apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from ctseg.io.dicom.reader import case_name, pseudonym
from ctseg.io.masks import save_mask
from ctseg.io.stack import Grid
from ctseg.io.volume import Volume
from ctseg.phantom.anatomy import make_subject
from ctseg.phantom.bleed_statistics import Turn
from ctseg.phantom.bleeds import KINDS, Findings, draw_pathology, draw_sizes, widening_mm
from ctseg.phantom.ct_contrast import draw_calibration, make_head
from ctseg.phantom.ct_scan import mask_level, scan
from ctseg.phantom.ct_series import Geometry, Protocol, draw_protocol, plan_slices, stored
from ctseg.phantom.fields import Floats

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
"""Label columns in the order of Kaggle's file."""
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
LABEL_MM2 = 4.0
"""Smallest area in a slice that a reader would call: 5 % of the bleeds drawn in BHSD are smaller in 5 mm slices."""
TRUTH = {"iph": "intraparenchymal", "brain": "brain"}
"""Folders of truth masks and the findings they hold."""


@dataclass(frozen=True)
class CtCase:
    """One CT patient of the cohort: who, which split, what to show."""

    index: int
    split: str
    findings: Findings
    matrix: int
    step_mm: float
    seed: tuple[int, ...]
    order: tuple[int, ...] = (0, 0, 0, 0, 0)
    """How many patients of the split before this one show each of `KINDS`."""
    every_mask: bool = False
    """Whether truth masks of all kinds of bleed are written, not of IPH and brain alone."""

    def turns(self) -> dict[str, Turn]:
        """The patient's turn among those with each kind of bleed."""
        shifts = np.random.default_rng((*self.seed[:-1], len(KINDS))).random((len(KINDS), 3))
        return {
            kind: Turn(number, (float(a), float(b), float(c)), self.findings.severe and kind == "intraparenchymal")
            for kind, number, (a, b, c) in zip(KINDS, self.order, shifts, strict=True)
        }


def identifier(*parts: object) -> str:
    """An RSNA-like name `ID_xxxxxxxxx`."""
    return "ID_" + hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=5).hexdigest()[:9]


def make_ct_case(folder: Path, case: CtCase) -> dict[str, Any]:
    """Make one CT patient: DICOM files, truth masks; returns its label rows and its row of cases.csv."""
    streams = np.random.SeedSequence(case.seed).spawn(4)
    anatomy, lesions, protocol_rng, scanner = (np.random.default_rng(s) for s in streams)
    calibration = draw_calibration(protocol_rng)
    sizes = draw_sizes(case.findings, case.turns(), calibration)
    subject = make_subject(anatomy, widening_mm=widening_mm(sizes))
    pathology = draw_pathology(lesions, subject.template, case.findings, sizes, subject.traits.age)
    pathology.settle(subject)
    protocol = draw_protocol(protocol_rng, case.index, case.step_mm, case.matrix)
    geometry = plan_slices(subject, protocol, case.matrix)
    hu, covers = scan(scanner, make_head(lesions, subject, pathology, calibration), geometry, protocol)
    masks, present = _truth(covers, geometry.pixel_mm)
    uids = _identities(case, len(hu))
    _write_dicom(folder / "rsna" / case.split, uids, geometry, protocol, hu)
    volume = _volume(uids, geometry, hu)
    for kind, name in (TRUTH | ({name: name for name in KINDS} if case.every_mask else {})).items():
        # Train and test apart (truth/iph/test, truth/iph/train): `ctseg evaluate --ref` takes one of them.
        place = folder / "truth" / kind / case.split.removeprefix("stage_2_")
        save_mask(place / f"{volume.case_id}.nii.gz", volume, masks[name])
    return {
        "labels": _label_rows(uids["slices"], present),
        "case": _case_row(case, protocol, volume, masks, present),
    }


def _truth(
    covers: dict[str, Floats], pixel_mm: float
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.bool_]]]:
    """Masks where a finding fills enough of a voxel, and the slices that show it; areas too small to call dropped."""
    masks, present = {}, {}
    for name in ("brain", *KINDS):
        mask = covers[name] > mask_level(name) if name in covers else np.zeros(covers["brain"].shape, dtype=bool)
        seen = mask.sum(axis=(1, 2)) * pixel_mm**2 >= LABEL_MM2
        masks[name] = (mask & seen[:, None, None]).astype(np.uint8)
        if name != "brain":
            present[name] = seen
    return masks, present


def _identities(case: CtCase, count: int) -> dict[str, Any]:
    who = (*case.seed,)
    return {
        "patient": identifier("patient", *who)[:11],
        "study": identifier("study", *who)[:13],
        "series": identifier("series", *who)[:13],
        "slices": [identifier("slice", *who, k) for k in range(count)],
    }


def _lps(vector: NDArray[np.float64]) -> list[float]:
    """RAS mm as DICOM's LPS, within the 16 characters of a decimal string."""
    return [round(float(v), 6) + 0.0 for v in vector * np.array([-1, -1, 1])]


def _write_dicom(folder: Path, uids: dict[str, Any], geometry: Geometry, protocol: Protocol, hu: Floats) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values, pixel_header = stored(hu, protocol)
    with disable_value_validation():  # RSNA's identifiers are no valid UIDs
        for k, name in enumerate(uids["slices"]):
            dataset = _header(uids, name, geometry, k)
            for keyword, value in pixel_header.items():
                setattr(dataset, keyword, value)
            dataset.PixelData = values[k].tobytes()
            dataset.save_as(folder / f"{name}.dcm", enforce_file_format=True)


def _header(uids: dict[str, Any], name: str, geometry: Geometry, k: int) -> Dataset:
    """The few fields that RSNA's files have."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID(CT_IMAGE_STORAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(name)
    dataset.SOPInstanceUID = name
    dataset.Modality = "CT"
    dataset.PatientID = uids["patient"]
    dataset.StudyInstanceUID = uids["study"]
    dataset.SeriesInstanceUID = uids["series"]
    dataset.StudyID = ""
    dataset.ImagePositionPatient = _lps(geometry.origins[k])
    dataset.ImageOrientationPatient = [*_lps(geometry.right_to_left), *_lps(geometry.down)]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = geometry.matrix
    dataset.PixelSpacing = [geometry.pixel_mm, geometry.pixel_mm]
    dataset.WindowCenter, dataset.WindowWidth = 40, 80
    dataset.RescaleSlope = 1
    return dataset


def _volume(uids: dict[str, Any], geometry: Geometry, hu: Floats) -> Volume:
    """The series as the DICOM reader gives it back."""
    flip = np.array([-1.0, -1.0, 1.0])
    case_id = case_name(uids["patient"], uids["series"])
    return Volume(
        voxels=hu,
        origins_mm=np.array([_lps(origin) for origin in geometry.origins]),
        row_step_mm=geometry.down * flip * geometry.pixel_mm,
        col_step_mm=geometry.right_to_left * flip * geometry.pixel_mm,
        domain="ct",
        case_id=case_id,
        patient_id=pseudonym(uids["patient"]),
        series_id=uids["series"],
        slice_ids=tuple(uids["slices"]),
    )


def _label_rows(names: list[str], present: dict[str, NDArray[np.bool_]]) -> list[tuple[str, int]]:
    """Kaggle's rows: `ID_slice_subtype,0/1`, six a slice."""
    rows = []
    for k, name in enumerate(names):
        flags = {subtype: int(present[subtype][k]) if subtype in present else 0 for subtype in SUBTYPES[:-1]}
        flags["any"] = int(any(flags.values()))
        rows += [(f"{name}_{subtype}", flags[subtype]) for subtype in SUBTYPES]
    return rows


def _case_row(
    case: CtCase,
    protocol: Protocol,
    volume: Volume,
    masks: dict[str, Any],
    present: dict[str, Any],
) -> dict[str, Any]:
    lesion_ml = Grid.of(volume).volume_ml(masks["intraparenchymal"])
    blood = np.any(list(present.values()), axis=0)
    return {
        "case": volume.case_id,
        "patient": volume.patient_id,
        "split": "train" if case.split == "stage_2_train" else "test",
        "slices": len(volume.voxels),
        "tilt_deg": round(protocol.tilt_deg, 2),
        "uneven": int(protocol.uneven),
        "signed": int(protocol.signed and not protocol.wrapped),
        "intercept": 0 if protocol.wrapped else protocol.intercept,
        "padded": int(protocol.padded and not protocol.wrapped),
        "wrapped": int(protocol.wrapped),
        "iph_ml": round(lesion_ml, 2),
        **{f"{name}_slices": int(present[name].sum()) if name in present else 0 for name in SUBTYPES[:-1]},
        "none_slices": int((~blood).sum()),
    }
