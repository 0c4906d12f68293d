"""Slices as the network for other blood takes them: each with the one below and above it. No torch is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

APART_MM = 5.0
"""How far below and above a slice its neighbours are looked for."""
KINDS = {1: "ivh", 2: "sah", 3: "sdh", 4: "edh"}
"""Values of the mask and the kinds they mean."""
NAMES = {
    "ivh": "Intraventricular haemorrhage", "sah": "Subarachnoid haemorrhage", "sdh": "Subdural haemorrhage",
    "edh": "Epidural haemorrhage",
}  # fmt: skip
OTHER = "other_blood"
"""Folder of the masks, below that of the others."""
CLASSES = 2 + len(KINDS)
"""Of the network: no blood, IPH, and the kinds."""
KINDS_NETWORK = "kinds-unet"
"""What a model's header calls the network."""
NEIGHBOURS = 3
"""Images a slice: the one below, itself, the one above."""


def beside(z_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    """(K,) positions from feet to head -> (K, 3) numbers of the slice below, the slice itself and the one above.

    The neighbour is the slice nearest to 5 mm away, and the next one where slices lie further apart; the slice itself
    at the ends of a scan.
    """
    count = len(z_mm)
    own = np.arange(count)
    found = [np.clip(_nearest(z_mm, z_mm + way * APART_MM), *limits) for way, limits in (
        (-1, (0, np.maximum(own - 1, 0))), (1, (np.minimum(own + 1, count - 1), count - 1)),
    )]  # fmt: skip
    return np.stack([found[0], own, found[1]], axis=1).astype(np.int64)


def _nearest(z_mm: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each wanted position the number of the nearest slice; the lower of two as near."""
    above = np.clip(np.searchsorted(z_mm, wanted), 1, max(len(z_mm) - 1, 1))
    below = above - 1
    if len(z_mm) == 1:
        return np.zeros(len(wanted), np.int64)
    nearer = wanted - z_mm[below] <= z_mm[above] - wanted
    return np.where(nearer, below, above).astype(np.int64)
