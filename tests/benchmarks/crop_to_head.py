"""What the network gains and loses when slices are cropped to the head: CPU seconds, and voxels that differ.

`python tests/benchmarks/crop_to_head.py SCANS` prints Markdown. The crop is a box around the brain of all slices with
a margin of model pixels, its ends on multiples of 16, so that poolings fall on the same pixels. A window crops mirror
images alone, to what the plain images of a batch show. `ctseg segment` does not crop: numbers are in docs/segment.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from ctseg.api import find_models, load_for_segment
from ctseg.inference import predict
from ctseg.inference.prepare import prepare_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.networks.intensity import to_images

STRIDE, ROUNDS = 16, 2
MARGINS = (None, 4, 16)
WINDOWS = (16, 32)
WHOLE = predict._members


def crop(images: NDArray[np.uint8], margin: int) -> tuple[slice, slice]:
    """Rows and columns of (K, H, W) slices that hold the brain and a margin."""
    box = []
    for axes, size in (((0, 2), images.shape[1]), ((0, 1), images.shape[2])):
        used = np.flatnonzero(images.any(axis=axes))
        start = max(0, int(used[0]) - margin) // STRIDE * STRIDE
        box.append(slice(start, min(size, -(-(int(used[-1]) + 1 + margin) // STRIDE) * STRIDE)))
    return box[0], box[1]


def cropped(margin: int | None) -> Callable[..., NDArray[np.float32]]:
    """The network on cropped slices; what lies beyond the crop is no lesion."""

    def members(images: NDArray[np.uint8], model: Any, settings: SegmentSettings) -> NDArray[np.float32]:
        if margin is None or not images.any():
            return WHOLE(images, model, settings)
        rows, columns = crop(images, margin)
        part = WHOLE(np.ascontiguousarray(images[:, rows, columns]), model, settings)
        maps = np.zeros((len(part), *images.shape), dtype=np.float32)
        maps[:, :, rows, columns] = part
        return maps

    return members


def windowed(margin: int) -> Callable[..., NDArray[np.float32]]:
    """The network on whole plain images, and on mirror images around what these show."""

    def members(images: NDArray[np.uint8], model: Any, settings: SegmentSettings) -> NDArray[np.float32]:
        plain = WHOLE(images, model, settings.model_copy(update={"tta": False}))
        maps = np.repeat(plain, len(predict._mirrors(settings)), axis=0)
        seen = plain[0] >= predict.MIRRORED_FROM
        todo = np.flatnonzero(seen.any(axis=(1, 2)))
        for place, axes in list(enumerate(predict._mirrors(settings)))[1:]:
            for start in range(0, len(todo), settings.batch_size):
                batch = todo[start : start + settings.batch_size]
                rows, columns = crop(seen[batch], margin)
                part = to_images(np.ascontiguousarray(images[batch][:, rows, columns]), model.device)
                maps[place, batch] = 0
                maps[place, batch, rows, columns] = predict._probabilities(part, axes, model, settings)[:, 0].numpy()
        return maps

    return members


def main(scans: Path) -> None:
    """Segment every scan in each way and print the table."""
    torch.set_num_threads(1)
    groups, extractor = load_for_segment(find_models("default"), "cpu")
    settings = SegmentSettings()
    print("| scan | margin | slices | CPU s | voxels that differ | mL |\n|---|---|---|---|---|---|")  # noqa: T201
    for number, case in enumerate(discover(scans, "ct").cases, start=1):
        ready = prepare_volume(read_case(case), [group.preprocessing for group in groups], extractor)
        images, whole = ready.prepared[0].images, None
        ways = [(str(margin), margin, cropped(margin)) for margin in MARGINS]
        ways += [(f"window, {margin}", None, windowed(margin)) for margin in WINDOWS]
        for name, margin, way in ways:
            spent = []
            with patch.object(predict, "_members", way):
                for _ in range(ROUNDS):
                    started = time.process_time()
                    found = predict.predict_ready(ready, groups, settings)
                    spent.append(time.process_time() - started)
            whole = found if whole is None else whole
            shown = images if margin is None else images[:, *crop(images, margin)]
            differ = f"{int((found.mask != whole.mask).sum()):,} of {int(whole.mask.sum()):,}"
            cells = (number, name, " x ".join(map(str, shown.shape)), f"{min(spent):.2f}", differ)
            print(f"| {' | '.join(map(str, cells))} | {found.measures.ml:.3f} |")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
