"""Haematomas implanted into CT scans that become slices: labelled blood in real or phantom heads, without a label.

After Hu et al., "Label-free liver tumor segmentation", CVPR 2023: lesions with the right statistics in unlabelled scans
of the target domain come close to real labels. Kinds, mL and HU follow 270 drawn IPH (`ctseg.implant`).
"""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ctseg.implant.head import Head
from ctseg.implant.lay import Implant, add, implant_into
from ctseg.implant.places import Places
from ctseg.implant.shares import CONTUSION_SHARE
from ctseg.implant.wanted import draw_wanted
from ctseg.io.stack import Grid
from ctseg.io.volume import Volume


def with_implants(
    volume: Volume, brain: NDArray[np.bool_], most: int, seed: int, contusion_share: float = CONTUSION_SHARE
) -> tuple[Volume, NDArray[np.bool_], tuple[Implant, ...]]:
    """Lay 0 to `most` haematomas into a scan.

    Args:
        volume: CT in HU; its own lesions, where it has labels, are left alone.
        brain: (K, h, w) brain mask.
        most: each number up to it is equally likely.
        seed: with the case's name it decides everything, so the order of cases does not matter.
        contusion_share: of the haematomas of up to 25 mL.

    Returns:
        The scan, where the new blood lies (K, h, w), and each haematoma. One that fits nowhere is left out.

    Raises:
        CaseError: if the brain mask is empty.
    """
    rng = np.random.default_rng([seed, crc32(volume.case_id.encode())])
    head = Head.of(volume.voxels, Grid.of(volume), brain)
    places = Places(head)
    if volume.labels is not None:
        places.take(volume.labels > 0)
    drawn = [draw_wanted(rng, contusion_share=contusion_share) for _ in range(int(rng.integers(most + 1)))]
    found = [implant_into(head, rng, wanted, places) for wanted in drawn]
    implants = tuple(implant for implant in found if implant is not None)
    blood = np.zeros(volume.voxels.shape, dtype=bool)
    for implant in implants:
        blood[implant.box] |= implant.mask
    return replace(volume, voxels=add(volume.voxels, implants)), blood, implants
