"""What the header of a NRRD or MetaImage says beside what SimpleITK makes of it: units, sizes, sides and scale."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError

FIELD = re.compile(rb"^[ \t]*+([A-Za-z][A-Za-z ]*+)[ \t]*+:?[:=](.*+)$", re.MULTILINE)
"""A name and its value, with blanks around both."""
NUMBERS = {"ElementSpacing": 0.0, "ElementSize": 0.0} | dict.fromkeys(("Offset", "Position", "Origin"), -math.inf)
"""Fields of a MetaImage that hold numbers, and what these are above."""
MILLIMETRES = frozenset({"mm", "millimeter", "millimeters", "millimetre", "millimetres", ""})
SIDES = ("RL", "AP", "IS")
"""Of the axes x, y, z in LPS: from which side an axis comes that rises, and one that falls."""
SKIPS = ("byte skip", "line skip", "headersize")
"""Where one of these is given, the voxels begin somewhere else."""
SAME = 0.01
SAME_FIELD = {
    "origin": "offset", "position": "offset", "rotation": "transformmatrix", "orientation": "transformmatrix",
    "elementbyteordermsb": "binarydatabyteordermsb",
}  # fmt: skip
"""Names of a MetaImage's field, and another name of it."""
ONCE = frozenset(
    {
        "offset", "transformmatrix", "binarydatabyteordermsb", "elementspacing", "elementsize", "dimsize", "ndims",
        "elementtype", "compresseddata", "headersize", "elementnumberofchannels", "distanceunits",
    }
)  # fmt: skip
"""What is stated once, or with one value."""
NRRD_SIZES = ("space directions", "spacings")
"""ITK takes no size from `axis mins` and `axis maxs`."""
SPACES = frozenset(
    f"{name}{time}"
    for time in ("", "-time", "t")
    for name in ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior", "ras", "las", "lps")
)
"""Spaces of a NRRD that name sides of the patient."""
VALUES = {"elementspacing": 1, "elementsize": 1, "offset": 1, "position": 1, "origin": 1} | dict.fromkeys(
    ("transformmatrix", "rotation", "orientation"), 2
)
"""Fields of a MetaImage: as many numbers as there are axes, or their square. ITK fills up what is missing."""
GZIP = frozenset({"gzip", "gz"})
"""Encodings of a NRRD that are compressed and that ITK reads."""
DISTANCES = "distanceunits"
OTHER_MODALITIES = frozenset({"MR", "NM", "US", "OTHER"})


def compared(head: bytes, affine: NDArray[np.float64], shape: tuple[int, ...], width: int, held: int) -> list[str]:
    """Notes on what a header says twice.

    Args:
        head: the header.
        affine: (4, 4) as ITK has it, LPS mm.
        shape: voxels along each axis.
        width: bytes of a voxel.
        held: bytes of the file behind its header, or of the file beside it.

    Raises:
        CaseError: without the file's name, if lengths or values are in other units, are no numbers, or the file holds
            more voxels than its header says.
    """
    found = _lines(head)
    fields = dict(found)
    _refuse_two(found)
    _refuse_silent(fields)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise CaseError("its affine is singular, so its voxels have no size; write a header with spacing")
    if any(unit.strip().lower() not in MILLIMETRES for unit in _units(fields)):
        raise CaseError("its lengths are not in mm (units, space units, DistanceUnits); write it in mm")
    _refuse_numbers(fields)
    _refuse_too_few(fields)
    _refuse_longer(fields, held, math.prod(shape) * width, math.prod(shape[:2]) * width)
    return [*_sizes(fields), *_sides(fields, affine), *_space(fields), *_modality(fields)]


def _units(fields: dict[str, str]) -> list[str]:
    """The units of length; a fourth axis of length one, which is no length in space, may have another."""
    axes = 3 if fields.get("sizes", "").split()[3:] == ["1"] else None
    quoted = [re.findall(r'"([^"]*)"', fields.get(name, ""))[:axes] for name in ("space units", "units")]
    return [*quoted[0], *quoted[1], *([fields[DISTANCES].strip(" ?")] if DISTANCES in fields else [])]


def fields_of(head: bytes) -> dict[str, str]:
    """What a header says, by the names of its fields in lower case."""
    return dict(_lines(head))


def is_packed(fields: dict[str, str]) -> bool:
    """Whether the voxels are compressed; MetaImage's truth begins with T or 1."""
    return fields.get("compresseddata", "").lower().startswith(("t", "1")) or fields.get("encoding", "").lower() in GZIP


def _lines(head: bytes) -> list[tuple[str, str]]:
    return [
        (name.decode().strip().lower(), value.decode("latin-1").strip(" \t\r")) for name, value in FIELD.findall(head)
    ]


def _refuse_two(found: list[tuple[str, str]]) -> None:
    """Refuse one statement, under one name or two, that is made twice with other values."""
    said: dict[str, tuple[str, str]] = {}
    for name, value in found:
        key = SAME_FIELD.get(name, name)
        words = " ".join(value.lower().split())
        first, before = said.setdefault(key, (name, words))
        numbers = _floats(words)
        is_same = before == words or (numbers == _floats(before) and all(map(math.isfinite, numbers)))
        if key in ONCE and not is_same:
            names = name if name == first else f"{first} and {name}"
            raise CaseError(f"its header gives two values of {names}; write it again")


def _refuse_silent(fields: dict[str, str]) -> None:
    """Refuse a header without voxel size, which programs take for 1 mm, and values or voxels that lie elsewhere."""
    is_meta = "dimsize" in fields
    if not any(name in fields for name in (("elementspacing", "elementsize") if is_meta else NRRD_SIZES)):
        raise CaseError("its header states no voxel size, so volumes are unknown; write a header with spacing")
    if "space directions" not in fields and not all(map(math.isfinite, _floats(fields.get("spacings", "")))):
        raise CaseError("its spacings hold what is no length; write its header again")
    if is_meta and _floats(fields.get("headersize", "-1")) != [-1.0]:
        raise CaseError("its header says where its voxels begin (HeaderSize), which may not be so; write it without")
    if "old min" in fields or "old max" in fields:
        raise CaseError("its values are to be scaled (old min, old max), which is not read; write it with HU")


def _modality(fields: dict[str, str]) -> list[str]:
    said = fields.get("modality", "").upper().removeprefix("MET_MOD_")
    return [f"the header says Modality {said}, taken as a scan all the same"] if said in OTHER_MODALITIES else []


def _refuse_numbers(fields: dict[str, str]) -> None:
    for name, least in NUMBERS.items():
        values = _floats(fields.get(name.lower(), ""))
        if not all(least < value < math.inf for value in values):
            raise CaseError(f"its {name} holds what is no length; write its header again")
    slope, offset = (fields.get(f"elementtointensityfunction{name}", "") for name in ("slope", "offset"))
    if _floats(slope or "1") != [1.0] or _floats(offset or "0") != [0.0]:
        raise CaseError("its values are to be scaled (ElementToIntensityFunction), which is not read; write it with HU")


def _refuse_too_few(fields: dict[str, str]) -> None:
    """Refuse a MetaImage that gives other than one number for each axis."""
    axes = len(_floats(fields.get("dimsize", "")))
    for name, power in VALUES.items() if axes else ():
        if name in fields and len(_floats(fields[name])) != axes**power:
            raise CaseError(f"its {name} holds other than {axes**power} numbers; write its header again")


def _refuse_longer(fields: dict[str, str], held: int, expected: int, plane: int) -> None:
    """Where voxels lie as they are behind the header, there is no whole slice more of them."""
    is_text = fields.get("encoding", "raw").lower() != "raw"
    if is_text or is_packed(fields) or any(name in fields for name in SKIPS):
        return
    if held >= expected + plane:
        raise CaseError(f"holds {held} bytes of voxels where its header says {expected}; write its header again")


def _sizes(fields: dict[str, str]) -> list[str]:
    spacing, size = (_floats(fields.get(name, "")) for name in ("elementspacing", "elementsize"))
    if not spacing or len(size) != len(spacing) or np.allclose(size, spacing, rtol=SAME):
        return []
    sizes = [" x ".join(f"{value:g}" for value in values) for values in (size, spacing)]
    return [f"the header says voxels of {sizes[0]} mm (ElementSize), {sizes[1]} mm apart; the latter is used"]


def _space(fields: dict[str, str]) -> list[str]:
    """Notes on a NRRD whose directions are of a space without sides of the patient, or whose place is not given."""
    notes = []
    if "space directions" in fields and fields.get("space", "").strip().lower() not in SPACES:
        notes.append("the header's space names no sides of the patient; its directions are taken for LPS")
    if "space directions" in fields and "space origin" not in fields:
        notes.append("the header gives no origin; the first voxel is taken to lie at 0")
    return notes


def _sides(fields: dict[str, str], affine: NDArray[np.float64]) -> list[str]:
    said = fields.get("anatomicalorientation", "").upper()
    if sorted(next((k for k, two in enumerate(SIDES) if one in two), -1) for one in said) != [0, 1, 2]:
        return []
    axes = np.abs(affine[:3, :3]).argmax(axis=0)
    found = "".join(SIDES[axis][int(affine[axis, column] < 0)] for column, axis in enumerate(axes))
    if said == found:
        return []
    return [f"the header says axes from {said} (AnatomicalOrientation), its matrix {found}; the matrix is used"]


def _floats(text: str) -> list[float]:
    """The numbers of a line; one that is none is NaN."""
    found = []
    for word in text.split():
        try:
            found.append(float(word))
        except ValueError:
            found.append(math.nan)
    return found
