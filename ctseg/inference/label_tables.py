"""What the values of a mask mean, in the files that viewers read: BIDS, 3D Slicer and ITK-SNAP."""

from __future__ import annotations

from pathlib import Path

from ctseg.files import write_text

DISPLAY_RGB = (255, 59, 48)
NAME = "Haemorrhage"
TABLES = ("labels.tsv", "labels.ctbl", "labels.label")
"""BIDS; the colour table of 3D Slicer; the label description of ITK-SNAP."""


def write_label_tables(folder: Path) -> None:
    """Write the three tables: 0 is background, 1 is haemorrhage in the colour of the DICOM SEG."""
    for name, text in zip(TABLES, (bids_table(), _slicer(), _itk_snap()), strict=True):
        write_text(Path(folder) / name, text)


def bids_table() -> str:
    """The `dseg.tsv` of BIDS: index, name, abbreviation and colour."""
    colour = "#" + "".join(f"{value:02x}" for value in DISPLAY_RGB)
    return f"index\tname\tabbreviation\tcolor\n0\tBackground\tBG\t#000000\n1\t{NAME}\tICH\t{colour}\n"


def _slicer() -> str:
    red, green, blue = DISPLAY_RGB
    return f"# Color table file labels.ctbl\n# 2 values\n0 Background 0 0 0 0\n1 {NAME} {red} {green} {blue} 255\n"


def _itk_snap() -> str:
    red, green, blue = DISPLAY_RGB
    head = "# ITK-SnAP Label Description File\n# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n"
    return f'{head}0 0 0 0 0 0 0 "Clear Label"\n1 {red} {green} {blue} 1 1 1 "{NAME}"\n'
