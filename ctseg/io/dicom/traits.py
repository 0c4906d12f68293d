"""What a series says about how it was made, where that changes how blood looks: projection, reformat, contrast."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from ctseg.io.dicom.header import number, text

PROJECTION = frozenset(
    {
        "mip", "mips", "minip", "avgip", "aip", "projection", "vrt", "thickmip", "min_ip", "max_ip", "maximum",
        "minimum", "volume_render", "surface_render",
    }
)  # fmt: skip
REFORMAT = frozenset({"mpr", "mprs", "mpvr", "cpr", "curved_mpr", "reformat", "reformats", "reformatted"})
CONTRAST = frozenset(
    {
        "cta", "ctv", "cect", "angio", "angiography", "angiographie", "contrast", "contraste", "kontrast",
        "postcontrast", "enhanced", "venous", "arterial", "perfusion", "ctp", "bolus", "km", "kontrastmittel",
    }
)  # fmt: skip
"""Words of ImageType and SeriesDescription, in lower case."""

SPECTRAL = frozenset(
    {
        "vmi", "mono", "monoe", "mono_e", "monoenergetic", "monoplus", "mono_plus", "kev", "gsi", "spectral", "iodine",
        "vnc", "vue", "water", "calcium", "material", "basis", "de", "de_mixed", "mixed", "dual", "dualenergy",
        "dual_energy", "rho", "zeff", "z_eff", "electron", "overlay", "fused", "colormap", "electron_density",
        "vnc_image", "iodine_map", "mat_specific", "mat_removed", "mat_fractional", "mat_modified", "mat_value_based",
        "eff_atomic_num",
    }
)  # fmt: skip
"""Words of ImageType for what is computed from two energies; in descriptions they mean too many other things."""
SPECTRAL_PHRASES = re.compile(
    r"\b(mono(energetic|chromatic)?[\s_-]*\+?[\s_-]*\d{2,3}[\s_-]*kev|\d{2,3}[\s_-]*kev|dual[\s_-]*energy|iodine|jod|vnc|"
    r"virtual[\s_-]*(non|un)[\s_-]*(contrast|enhanced)|z[\s_-]*eff(ective)?|effective[\s_-]*z|electron[\s_-]*density|gsi|"
    r"mono[\s_-]*e[\s_-]*\d{2,3}|sbi)\b|(?<![a-z0-9])[mf]_[01][.,]\d"
)
"""The same in descriptions; M_0.6 and F_0.6 are Siemens' for a mixture of 60 % of the lower energy."""
HALF = re.compile(
    r"(?<![a-z0-9])[ab][\s_-]{0,3}(sn)?[\s_-]{0,3}\d{2,3}[\s_-]{0,3}kvp?(?![a-z])"
    r"|(?<![a-z0-9])1\d0[\s_-]{0,3}kvp?[\s_-]{0,3}qc\b"
)
"""One tube of two, as in `A_80kV` and `B_Sn140kV`; GE's quality check of a scan of two energies."""
SPECTRAL_NOTE = "{} two energies by its {}: blood has other HU than at 120 kV"
PERFUSION = re.compile(r"\b(cbf|cbv|mtt|ttp|tmax|ttd|t0|permeability|perfusion[\s_-]*map|rcb[fv])\b")
"""Maps computed from a bolus; their values are no HU."""

USUAL_KV = (100.0, 140.0)
"""Tube voltages of single-energy head CT; at 80 kV, as in halves of dual-energy scans, blood is brighter."""

DERIVED = re.compile(r"\b(resampl|interpolat|reslic|reformat|averag|denois|smooth|filter|registr|normali[sz])")
"""What DerivationDescription has for pixels that were computed from others."""

NEGATED = re.compile(
    r"\b(non|no|not|without|w/o|wo|ohne|o\.|pre|sans|senza|sin|un)[\s._-]*(i\.?v\.?[\s._-]*)?"
    r"(contrast\w*|kontrast\w*|enhanced|km|ce|mdc|injection)\b|\bpre[\s._-]*bolus\b"
)
"""Words on contrast that deny it."""
WITH_CONTRAST = re.compile(r"(?<!\w)\+\s?c\b|\bc\+(?!\w)")
NO_AGENT = frozenset(
    {"", "no", "none", "n", "0", "no contrast", "without", "non", "nil", "not given", "keine", "na", "n/a"}
)


def about_series(dataset: Dataset, domain: str) -> list[str]:
    """Notes on a series that is a projection, reformatted, or taken with a contrast agent.

    The description itself is not quoted: people write names into it.

    Args:
        dataset: the header of one of its slices.
        domain: 'ct' or 'mr'; contrast is looked for in CT alone.
    """
    named = {name: text(dataset, name).lower() for name in ("VolumeBasedCalculationTechnique", "SeriesDescription")}
    named = {"ImageType": _kinds(dataset), **named}
    notes = []
    for words, note in (
        (PROJECTION, "a projection (MIP or the like) by its {}: volumes are not those of the slices"),
        (REFORMAT, "reformatted (MPR) by its {}: the original slices are better where there are any"),
    ):
        place = next((name for name, value in named.items() if words & _words(value)), "")
        notes += [note.format(place)] if place else []
    if domain == "ct":
        notes += [*_computed(dataset, named, is_noted=bool(notes)), *_voltage(dataset)]
    place = _contrast_place(dataset, named["SeriesDescription"]) if domain == "ct" else ""
    return [*notes, f"taken with a contrast agent by its {place}: vessels can look like blood"] if place else notes


def _kinds(dataset: Dataset) -> str:
    """The words of ImageType, in lower case."""
    kinds = dataset.get("ImageType") or ()
    return " ".join(str(kind).lower() for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _computed(dataset: Dataset, named: dict[str, str], *, is_noted: bool) -> list[str]:
    """Notes on a CT series whose values were computed from others, or captured from a screen."""
    kinds, description = named["ImageType"], named["SeriesDescription"]
    notes = _spectral(kinds, description)
    if PERFUSION.search(description) or PERFUSION.search(kinds.replace("_", " ")):
        notes.append("a map of perfusion by its description: its values are no HU")
    if text(dataset, "ConversionType"):
        notes.append("a secondary capture by its ConversionType: its values may be no HU")
    place = _derived_place(dataset, kinds) if not notes and not is_noted else ""
    if place:
        notes.append(f"derived from other images by its {place}: the original slices are better where there are any")
    moments = number(dataset, "NumberOfTemporalPositions", 0.0)
    if moments > 1:
        notes.append(
            f"one of {moments:g} moments by its NumberOfTemporalPositions, as of perfusion: vessels can look like blood"
        )
    return notes


def _derived_place(dataset: Dataset, kinds: str) -> str:
    """The tag that says that a series was computed from others; empty where none does."""
    if "derived" in kinds.split():
        return "ImageType"
    return "DerivationDescription" if DERIVED.search(text(dataset, "DerivationDescription").lower()) else ""


def _spectral(kinds: str, description: str) -> list[str]:
    """Notes on values that were computed from two energies, or are of one of them."""
    if SPECTRAL & _words(kinds):
        return [SPECTRAL_NOTE.format("computed from", "ImageType")]
    if SPECTRAL_PHRASES.search(description):
        return [SPECTRAL_NOTE.format("computed from", "SeriesDescription")]
    return [SPECTRAL_NOTE.format("one of", "SeriesDescription")] if HALF.search(description) else []


def _voltage(dataset: Dataset) -> list[str]:
    said = number(dataset, "KVP", 0.0)
    is_usual = not said or USUAL_KV[0] <= said <= USUAL_KV[1]
    return [] if is_usual else [f"taken at {said:g} kV by its KVP: blood has other HU than at 120 kV"]


def _words(value: str) -> set[str]:
    return set(re.split(r"[^a-z0-9_]+", value)) | set(re.split(r"[^a-z0-9]+", value))


def _contrast_place(dataset: Dataset, description: str) -> str:
    """The tag that says that contrast was given; empty where none does, or the description denies it."""
    agent = text(dataset, "ContrastBolusAgent").lower()
    denied = NEGATED.search(description) is not None
    rest = NEGATED.sub(" ", description)
    if CONTRAST & _words(rest) or WITH_CONTRAST.search(rest):
        return "SeriesDescription"
    if denied:
        return ""
    if agent not in NO_AGENT:
        return "ContrastBolusAgent"
    return "ContrastBolusAgentSequence" if dataset.get("ContrastBolusAgentSequence") else ""
