"""CT slices whose slope or intercept differ from the others': whether their values fit their neighbours'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ctseg.errors import CaseError
from ctseg.io.dicom.header import number
from ctseg.io.dicom.pixels import AIR_HU

RESCALE = (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
NO_AIR_HU, SAME_HU = -500.0, 700.0
"""From one slice to the next, air and the median of the rest change by less, also where the skull begins."""
CLOSER_HU = 10.0
"""A neighbour's slope and intercept that bring a slice closer to it by more are its own as well."""
BONE_HU = 200.0
"""Bone has more."""
SOFT_HU = 100.0
"""Soft tissue lies within so many HU of water."""
GONE, BACK = 0.15, 0.5
"""Shares of a neighbour's soft tissue: a slice that has less, and would have more with the neighbour's own two."""

Values = NDArray[np.float32]


def about_rescale(values: Sequence[Values], datasets: Sequence[Dataset], names: Sequence[str]) -> list[str]:
    """A note where slope and intercept differ between the slices of a series, as few scanners write them.

    Args:
        values: (H, W) HU of each slice.
        datasets: their headers.
        names: their files, for messages.

    Raises:
        CaseError: if air and tissue of a slice with other ones are far from those of the next slice with the usual
            ones, or closer to them with these; or if it has lost the soft tissue that it has with these.
    """
    pairs = [tuple(number(dataset, name, usual) for name, usual in RESCALE) for dataset in datasets]
    usual, count = Counter(pairs).most_common(1)[0]
    if count == len(values):
        return []
    ordinary = [place for place, pair in enumerate(pairs) if pair == usual]
    for place, own in enumerate(values):
        next_to = values[min(ordinary, key=lambda other: abs(other - place))]
        theirs = _as_if(own, pairs[place], usual)
        is_far = _apart(own, next_to) > min(SAME_HU, _apart(theirs, next_to) + CLOSER_HU)
        if is_far or _is_lost(own, theirs, next_to):
            raise CaseError(
                f"{names[place]}: its RescaleSlope and RescaleIntercept put its values further from those of the "
                "slice next to it than that slice's own would, so one of the two is wrong; export the series again"
            )
    return [
        f"RescaleSlope or RescaleIntercept of {len(values) - count} of {len(values)} slices differ from the others'"
    ]


def _as_if(values: Values, own: tuple[float, ...], other: tuple[float, ...]) -> Values:
    """HU under another slope and intercept than those that they were made with."""
    return ((values - np.float32(own[1])) / np.float32(own[0])) * np.float32(other[0]) + np.float32(other[1])


def _apart(one: Values, other: Values) -> float:
    """By how many HU the air and the tissue of two slices differ, together."""
    return sum(abs(here - there) for here, there in zip(_levels(one), _levels(other), strict=True))


def _levels(values: Values) -> tuple[float, float]:
    """HU of a slice's air, and the median of what is none."""
    tissue = values[values > NO_AIR_HU]
    return float(np.percentile(values, 1)), float(np.median(tissue)) if len(tissue) else 0.0


def _is_lost(own: Values, theirs: Values, next_to: Values) -> bool:
    """Whether a slice's soft tissue has become air: nothing is below `AIR_HU`, so that the levels are near.

    A slice above the head has no soft tissue either, and no bone.
    """
    there = float((np.abs(next_to) < SOFT_HU).mean())
    here = float((np.abs(own) < SOFT_HU).mean())
    back = float(((np.abs(theirs) < SOFT_HU) & (own > AIR_HU)).mean())
    bone, bone_there = float((theirs > BONE_HU).mean()), float((next_to > BONE_HU).mean())
    return here < GONE * there and back > BACK * there and bone > GONE * bone_there
