"""Compare the two brain extractors: `python -m ctseg_reproduce.brain_model.measure --phantom FOLDER`.

On phantom heads that no weights were trained on (whole scans and single slices), on the CT template, and in time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.harmless import markdown_row
from ctseg.io.volume import Volume
from ctseg.preprocess.brain import MuschelliExtractor
from ctseg.preprocess.brain_network import BrainNetworkExtractor
from ctseg_reproduce.brain_model.cohort import cohort_scans
from ctseg_reproduce.brain_model.heads import above_canal
from ctseg_reproduce.brain_model.template import read_template

EVERY = 4
"""Every such slice is also given alone."""
LEAST_MM2 = 1000.0
"""Single slices with less brain count as slices without any (`min_brain_mm2` of preprocessing)."""

Mask = NDArray[np.bool_]
Extractor = Callable[[Volume], Mask]


@dataclass
class Found:
    """What one extractor found."""

    dices: list[float]
    recalls: list[float]
    precisions: list[float]
    single: list[float]
    """Dice of single slices with brain."""
    stray_mm2: list[float]
    """Area found in single slices without brain."""
    seconds: list[float]


def extractors(weights: Path | None = None) -> dict[str, Extractor]:
    """The two, by name."""
    return {"muschelli": MuschelliExtractor(), "brain-network": BrainNetworkExtractor(weights)}


def one_slice(volume: Volume, k: int) -> Volume:
    """Slice k alone."""
    part = slice(k, k + 1)
    return replace(
        volume, voxels=volume.voxels[part], origins_mm=volume.origins_mm[part], slice_ids=volume.slice_ids[part]
    )


def measure(scans: Iterator[tuple[Volume, Mask]], chosen: dict[str, Extractor]) -> dict[str, Found]:
    """Run all extractors on all scans, in turn on each."""
    found = {name: Found([], [], [], [], [], []) for name in chosen}
    for volume, truth in scans:
        for name, extractor in chosen.items():
            _measure_scan(found[name], extractor, volume, truth)
    return found


def _measure_scan(found: Found, extractor: Extractor, volume: Volume, truth: Mask) -> None:
    started = time.process_time()
    brain = extractor(volume)
    found.seconds.append(time.process_time() - started)
    both = float((brain & truth).sum())
    found.dices.append(2 * both / max(float(brain.sum() + truth.sum()), 1.0))
    found.recalls.append(both / max(float(truth.sum()), 1.0))
    found.precisions.append(both / max(float(brain.sum()), 1.0))
    pixel_mm2 = volume.spacing_mm[0] * volume.spacing_mm[1]
    for k in range(0, len(truth), EVERY):
        alone = extractor(one_slice(volume, k))[0]
        if truth[k].sum() * pixel_mm2 >= LEAST_MM2:
            found.single.append(2 * float((alone & truth[k]).sum()) / float(alone.sum() + truth[k].sum()))
        else:
            found.stray_mm2.append(float((alone & ~truth[k]).sum()) * pixel_mm2)


def held_out(cohort: Path, count: int) -> Iterator[tuple[Volume, Mask]]:
    """Test patients of a phantom cohort; the spinal canal below the head is no brain."""
    for scan in cohort_scans(cohort, "test", count):
        volume, brain = scan.read()
        yield volume, above_canal(brain.astype(np.float32), volume.spacing_mm[0] * volume.spacing_mm[1]) > 0.5


def lines(title: str, found: dict[str, Found]) -> list[str]:
    """Rows of a Markdown table."""
    rows = []
    for name, item in found.items():
        cells = [
            title, name, _spread(item.dices), _spread(item.recalls), _spread(item.precisions), _spread(item.single),
            f"{np.mean(item.stray_mm2):.0f} / {max(item.stray_mm2):.0f}" if item.stray_mm2 else "",
            f"{np.mean(item.seconds):.2f}",
        ]  # fmt: skip
        rows.append(markdown_row(cells))
    return rows


def _spread(values: list[float]) -> str:
    """Mean and worst."""
    return f"{np.mean(values):.3f} / {min(values):.3f}" if values else ""


HEADER = [
    "| on | extractor | Dice mean / worst | recall | precision | Dice of single slices | stray mm2 | s |",
    "|---|---|---|---|---|---|---|---|",
]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phantom", type=Path, help="a phantom cohort whose test patients are measured")
    parser.add_argument("--template", type=Path, help="folder of the CT template")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--weights", type=Path, help="other weights than the package's")
    arguments = parser.parse_args()
    chosen = extractors(arguments.weights)
    rows = list(HEADER)
    if arguments.phantom:
        rows += lines("phantom", measure(held_out(arguments.phantom, arguments.heads), chosen))
    if arguments.template:
        rows += lines("`scct`, 2 mm", measure(iter([read_template(arguments.template)]), chosen))
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
