"""What the values of a mask mean, in the files that viewers read: BIDS, 3D Slicer and ITK-SNAP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ctseg.files import write_text
from ctseg.inference.kind_slices import KINDS, NAMES

DISPLAY_RGB = (255, 59, 48)
NAME = "Haemorrhage"
TABLES = ("labels.tsv", "labels.ctbl", "labels.label")
"""BIDS; the colour table of 3D Slicer; the label description of ITK-SNAP."""


@dataclass(frozen=True)
class Label:
    """One value of a mask."""

    name: str
    short: str
    rgb: tuple[int, int, int]


Labels = Mapping[int, Label]
HAEMORRHAGE: Labels = {1: Label(NAME, "ICH", DISPLAY_RGB)}
"""Of `CASE.nii.gz`, in the colour of the DICOM SEG."""
KIND_RGB = {"ivh": (86, 180, 233), "sah": (0, 158, 115), "sdh": (204, 121, 167), "edh": (240, 228, 66)}
"""Sky blue, green, pink and yellow of Okabe and Ito (2008)."""
OTHER_BLOOD: Labels = {value: Label(NAMES[kind], kind.upper(), KIND_RGB[kind]) for value, kind in KINDS.items()}
"""Of `other_blood/CASE.nii.gz`."""


def write_label_tables(folder: Path, labels: Labels = HAEMORRHAGE) -> None:
    """Write the three tables; 0 is background."""
    for name, text in zip(TABLES, (bids_table(labels), _slicer(labels), _itk_snap(labels)), strict=True):
        write_text(Path(folder) / name, text)


def bids_table(labels: Labels = HAEMORRHAGE) -> str:
    """The `dseg.tsv` of BIDS: index, name, abbreviation and colour."""
    rows = [f"{value}\t{label.name}\t{label.short}\t{hex_colour(label.rgb)}\n" for value, label in labels.items()]
    return "index\tname\tabbreviation\tcolor\n0\tBackground\tBG\t#000000\n" + "".join(rows)


def hex_colour(rgb: tuple[int, int, int]) -> str:
    """`#rrggbb`."""
    return "#" + "".join(f"{value:02x}" for value in rgb)


def _slicer(labels: Labels) -> str:
    rows = [f"{value} {_one_word(label)} {' '.join(map(str, label.rgb))} 255\n" for value, label in labels.items()]
    head = f"# Color table file labels.ctbl\n# {len(labels) + 1} values\n0 Background 0 0 0 0\n"
    return head + "".join(rows)


def _one_word(label: Label) -> str:
    """Slicer's tables have no quotes, so a name has no space."""
    return label.name.replace(" ", "_")


def _itk_snap(labels: Labels) -> str:
    head = "# ITK-SnAP Label Description File\n# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n"
    rows = [f'{value} {" ".join(map(str, label.rgb))} 1 1 1 "{label.name}"\n' for value, label in labels.items()]
    return f'{head}0 0 0 0 0 0 0 "Clear Label"\n' + "".join(rows)
