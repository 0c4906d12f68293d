"""Why a DICOM image is no slice of a scan: by its kind, its modality, or because its scan cannot be read."""

from __future__ import annotations

from ctseg.io.dicom.header import SliceHeader

ENDS_EARLY = "the header ends early; copy the file again"
MULTI_FRAME = (
    "a multi-frame object of no class that is read; convert it to NIfTI first (dcm2niix -z y -s y -o FOLDER FILE)"
)
MOSAIC = "a mosaic: the slices of a volume tiled in one picture; convert it to NIfTI (dcm2niix)"
BY_CLASS = "its SOPClassUID says so: correct Modality, or convert it to NIfTI (dcm2niix)"
LOST_SCANS = frozenset({ENDS_EARLY, MULTI_FRAME, MOSAIC})
"""Reasons to leave out what is a scan all the same."""

UNSAID = frozenset({"", "OT"})
"""A Modality that says nothing of what an image is."""
STORED = {
    "1.2.840.10008.5.1.4.1.1.2": "CT", "1.2.840.10008.5.1.4.1.1.4": "MR", "1.2.840.10008.5.1.4.1.1.20": "NM",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
}  # fmt: skip
"""Modality of the images that a SOP class stores."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SCOUTS = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANOGRAM", "SCANOSCOPE", "SCANORAM"})
"""Words of ImageType for overviews, by maker."""
SCREENS = frozenset(
    {"SCREEN SAVE", "SCREENSAVE", "SCREEN_SAVE", "DOSE_INFO", "DOSE INFO", "PROTOCOL", "PATIENT PROTOCOL"}
)

MODALITIES = frozenset(
    {
        "ANN", "AR", "AU", "BI", "BMD", "CD", "CF", "CP", "CR", "CS", "CT", "DD", "DF", "DG", "DM", "DOC", "DS", "DX",
        "EC", "ECG", "EM", "EPS", "ES", "FA", "FID", "FS", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO",
        "LEN", "LP", "LS", "M3D", "MA", "MG", "MR", "MS", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV",
        "OPV", "OSS", "OT", "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN",
        "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "ST", "STAIN", "TG", "US",
        "VA", "VF", "XA", "XC",
    }
)  # fmt: skip
"""Values of Modality that the standard has or had (PS3.3, C.7.3.1.1.1)."""


def is_lost_scan(reason: str) -> bool:
    """Whether what is left out for this reason is a scan all the same."""
    return reason in LOST_SCANS or reason.endswith(BY_CLASS)


def why_not_a_slice(header: SliceHeader, domain: str) -> str:
    """Why a DICOM object is no slice of a `domain` scan ('ct', 'mr' or 'auto' for both); empty where it is one."""
    wanted = {"ct": ("CT",), "mr": ("MR",)}.get(domain, ("CT", "MR"))
    if not header.rows and header.modality in ("", "CT", "MR"):
        return ENDS_EARLY
    if not header.rows or not header.columns:
        return f"no image ({_said(header.modality) or 'no modality'}: report, presentation state or the like)"
    if header.sop_class.startswith(SECONDARY_CAPTURE):
        return "secondary capture (a screenshot, not slices)"
    if header.samples != 1:
        return "colour picture (a screenshot, not slices)"
    if header.modality not in wanted:
        return _of_another_modality(header, wanted)
    return _why_not_of_a_stack(header)


def _of_another_modality(header: SliceHeader, wanted: tuple[str, ...]) -> str:
    said = f"modality {_said(header.modality) or 'not given'}, not {' or '.join(wanted)}"
    is_lost = header.modality in UNSAID and STORED.get(header.sop_class) in wanted
    return f"{said}; {BY_CLASS}" if is_lost else said


def _said(modality: str) -> str:
    """A modality as messages name it: people and programs write names into any element."""
    return modality if modality in MODALITIES or not modality else "of no known name"


def _why_not_of_a_stack(header: SliceHeader) -> str:
    """Why a CT or MR image is no slice of a stack; empty where it is one."""
    if SCOUTS & set(header.image_type):
        return "localiser (scout view)"
    if SCREENS & set(header.image_type):
        return "screen save or dose report, not slices"
    if header.frames > 1:
        return MULTI_FRAME
    return MOSAIC if header.tiles > 1 or "MOSAIC" in header.image_type else ""
