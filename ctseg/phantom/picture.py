"""The phantom beside real scans, for the docs: `python -m ctseg.phantom.picture OUT.png --data DIR`.

DIR holds the real test scans (`ct-ge-tilted`, `mr-msd-task01`, `mr-ms-flair`). Patients are made in a
temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume
from ctseg.phantom.bleeds import KINDS, Findings
from ctseg.phantom.msd import TASK, MrCase, make_mr_case
from ctseg.phantom.rsna import CtCase, make_ct_case
from ctseg.render.png import write_png
from ctseg.render.sheet import DARK, Layout, Tile, draw_sheet
from ctseg.render.slices import WINDOW_HU, window_hu

Image = NDArray[Any]
Row = tuple[str, list[Image], float, float]

EXAMPLES = (
    Findings(iph=True, severe=True),
    Findings(iph=True, trauma=True, severe=True),
    Findings(iph=True, ivh=True),
    Findings(sah=True),
    Findings(sdh=True),
    Findings(edh=True),
    Findings(),
)
"""Findings of the phantom CT rows."""
COLUMNS = 6
LAYOUT = Layout(DARK, side=160)


def _volumes(folder: Path, domain: str) -> list[Volume]:
    """Every scan in a folder, by ctseg's own readers."""
    return [read_case(case) for case in discover(folder, domain, workers=1).cases]


def _slices(volume: Volume, low: float, high: float) -> list[Image]:
    """Evenly spread slices between two fractions of the stack, square, front at the top."""
    places = np.linspace(low, high, COLUMNS) * (len(volume.voxels) - 1)
    return [volume.voxels[round(float(place))] for place in places]


def _ct_rows(folder: Path, real: Path) -> list[Row]:
    """One real and several phantom CTs in the brain window, one of each in the bone window."""
    original = _volumes(real / "ct-ge-tilted", "ct")[0]
    phantoms = []
    for index, findings in enumerate(EXAMPLES):
        place = folder / f"ct{index}"
        order = (index,) * len(KINDS)
        make_ct_case(place, CtCase(index, "stage_2_train", findings, 512, 5.0, (2019, 2, index), order))
        phantoms.append((findings, _volumes(place / "rsna", "ct")[0]))
    rows = [("real CT (GE, tilted)", _slices(original, 0.22, 0.9), *WINDOW_HU)]
    rows += [(f"phantom CT: {_words(findings)}", _slices(v, 0.14, 0.84), *WINDOW_HU) for findings, v in phantoms]
    rows.append(("real CT, bone window", _slices(original, 0.1, 0.8), -700.0, 1600.0))
    rows.append(("phantom CT, bone window", _slices(phantoms[0][1], 0.0, 0.8), -700.0, 1600.0))
    return rows


def _words(findings: Findings) -> str:
    names = [name.upper() for name in ("iph", "ivh", "sah", "sdh", "edh") if getattr(findings, name)]
    return (" + ".join(names) or "no bleed") + (" after trauma" if findings.trauma else "")


def _mr_rows(folder: Path, real: Path) -> list[Row]:
    """Real gliomas and a whole real head, then phantom gliomas, FLAIR."""
    slabs = ((name, real / "mr-msd-task01" / f"BRATS_{name}_flair_slab.nii.gz") for name in ("119", "009"))
    rows = [_mr_row(f"real FLAIR (BRATS_{name})", path, 0.05, 0.95) for name, path in slabs]
    rows.append(_mr_row("real FLAIR (MS)", real / "mr-ms-flair" / "patient19_flair.nii.gz", 0.2, 0.75))
    for index in range(3):
        make_mr_case(folder, MrCase(index, 240, 155, (2019, 1, index)))
        rows.append(_mr_row("phantom FLAIR", folder / TASK / "imagesTr" / f"BRATS_{index + 1:03d}.nii.gz", 0.25, 0.85))
    return rows


def _mr_row(title: str, path: Path, low: float, high: float) -> Row:
    image: Any = nib.load(path)
    voxels = np.asarray(image.dataobj)
    voxels = voxels[..., 0] if voxels.ndim == 4 else voxels
    voxels = nib.orientations.apply_orientation(voxels, nib.io_orientation(image.affine))
    places = np.linspace(low, high, COLUMNS) * (voxels.shape[2] - 1)
    pictures = [_cut(np.rot90(voxels[:, :, round(float(place))])[:, ::-1]) for place in places]
    return title, pictures, 0.0, float(np.percentile(voxels[voxels > 0], 99.7))


def _cut(image: Image) -> Image:
    """The middle of a picture, square."""
    rows, columns = image.shape
    size = min(rows, columns, 200)
    top, left = (rows - size) // 2, (columns - size) // 2
    return image[top : top + size, left : left + size]


def draw(out: Path, data: Path) -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as temporary:
        rows = _ct_rows(Path(temporary), data) + _mr_rows(Path(temporary), data)
    write_png(out, draw_sheet([_tiles(*row) for row in rows], layout=LAYOUT))


def _tiles(title: str, pictures: list[Image], low: float, high: float) -> list[Tile]:
    """A row of the sheet; its title is below the first picture."""
    notes = [title, *[""] * (len(pictures) - 1)]
    return [Tile(window_hu(picture, (low, high)), note=note) for picture, note in zip(pictures, notes, strict=True)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real scans")
    arguments = parser.parse_args()
    draw(arguments.out, arguments.data)


if __name__ == "__main__":
    main()
