"""How bright the phantom's IPH are beside those of patients, by size: `docs/phantom.md`, limits.

    python tests/benchmarks/large_bleeds.py bhsd.csv PHANTOM ...

PHANTOM is a folder of `ctseg phantom`. HU are means inside the truth mask of a test scan, all its IPH together, on the
DICOM files; mL are those of `truth/cases.csv`. BHSD: the mean over a scan's parts by volume.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SIZES = ((30, np.inf), (30, 60), (60, np.inf))
"""In mL; test scans have 30 and more."""


def phantom_scans(folders: list[Path]) -> pd.DataFrame:
    """`ml` and `hu` of every test scan with an IPH."""
    rows = []
    for folder in folders:
        ml = pd.read_csv(folder / "truth/cases.csv").set_index("case")["iph_ml"]
        for case in discover([folder / "rsna/stage_2_test"]).cases:
            volume = read_case(case)
            mask = load_mask(folder / f"truth/iph/test/{volume.case_id}.nii.gz")[0] > 0
            if mask.any():
                hu = float(np.asarray(volume.voxels, float)[mask].mean())
                rows.append({"ml": ml[volume.case_id], "hu": hu})
    return pd.DataFrame(rows)


def bhsd_scans(path: Path) -> pd.DataFrame:
    """The same of BHSD, one line a part in the file."""
    parts = pd.read_csv(path).query("Type == 'IPH' and Mean_HU > 5")
    parts = parts.assign(product=parts["Volume_[mL]"] * parts["Mean_HU"])
    sums = parts.groupby("Data_ID")[["Volume_[mL]", "product"]].sum()
    return pd.DataFrame({"ml": sums["Volume_[mL]"], "hu": sums["product"] / sums["Volume_[mL]"]})


def of_size(scans: pd.DataFrame, low: float, high: float) -> NDArray[np.float64]:
    """HU of the scans of a size."""
    return scans.loc[(scans["ml"] >= low) & (scans["ml"] < high), "hu"].to_numpy(float)


def main() -> None:
    parser: Any = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bhsd", type=Path)
    parser.add_argument("phantoms", type=Path, nargs="+")
    args = parser.parse_args()
    real, made = bhsd_scans(args.bhsd), phantom_scans(args.phantoms)
    for low, high in SIZES:
        pair = [of_size(scans, low, high) for scans in (real, made)]
        quantiles = [np.quantile(one, LEVELS) for one in pair]
        shown = ["  ".join(f"{value:5.1f}" for value in each) for each in (*quantiles, quantiles[1] - quantiles[0])]
        limits = ttest_ind(pair[1], pair[0], equal_var=False).confidence_interval()
        sys.stdout.write(
            f"{low:g} to {high:g} mL: {len(pair[0])} of BHSD {shown[0]}, {len(pair[1])} of the phantom {shown[1]}, "
            f"difference {shown[2]}; of the means {pair[1].mean() - pair[0].mean():+.1f} "
            f"({limits.low:+.1f} to {limits.high:+.1f})\n"
        )


if __name__ == "__main__":
    main()
