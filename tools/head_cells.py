"""Make `ctseg/inference/head_cells.npy`: what the heads of a phantom cohort hold in each cell, both sides the same.

The last of its four maps has the cells that half of the scans cover.

`ctseg phantom --mr 1 --ct 16 --ct-test 1 --seed 1000 -o cohort && python tools/head_cells.py cohort`
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ctseg.inference.head_orientation import head_cells
from ctseg.io.discover import discover, read_case
from ctseg.preprocess.brain_network import BrainNetworkExtractor


def main() -> None:
    """Read the training patients of a cohort and write their mean."""
    sums, known = 0.0, 0
    for case in discover([Path(sys.argv[1]) / "rsna/stage_2_train"], "ct").cases:
        volume = read_case(case)
        shares, covered = head_cells(volume, BrainNetworkExtractor()(volume))
        sums, known = sums + shares * covered, known + covered.astype(int)
    mean = np.concatenate([sums / np.maximum(known, 1), (known >= max(known.max() / 2, 1))[None]])
    place = Path(__file__).parents[1] / "ctseg/inference/head_cells.npy"
    np.save(place, np.rint(255 * (mean + mean[:, ::-1]) / 2).astype(np.uint8))


if __name__ == "__main__":
    main()
