"""Checks of brain extractors on an ellipsoid head."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ctseg.conformance.subject import Subject, require
from ctseg.conformance.toys import AIR_HU, BRAIN_HU, toy_head, volume_of
from ctseg.io.volume import Volume

LEAST_BRAIN = 0.5
"""Share of the toy's brain that has to be found."""
MOST_OUTSIDE = 0.2
"""Share of the mask that may lie outside the toy's brain."""


def _mask(extractor: Any, volume: Volume) -> Any:
    mask = extractor(volume)
    require(isinstance(mask, np.ndarray), f"gives a {type(mask).__name__}, expected a numpy array")
    require(mask.dtype == np.bool_, f"mask is {mask.dtype}, expected bool")
    require(mask.shape == volume.voxels.shape, f"mask is {mask.shape} on a grid of {volume.voxels.shape}")
    return mask


def mask_is_on_the_grid(subject: Subject, _folder: Path) -> None:
    """The mask is bool and has the volume's grid; the volume, read-only, is left alone."""
    _mask(subject.build(), toy_head())


def finds_brain_and_no_air(subject: Subject, _folder: Path) -> None:
    """In an ellipsoid head most of the brain is found, no air, and little besides."""
    volume = toy_head()
    mask, brain = _mask(subject.build(), volume), np.abs(volume.voxels - BRAIN_HU) < 40
    require(not mask[volume.voxels < -500].any(), "the mask holds air")
    found = float(mask[brain].mean())
    require(found >= LEAST_BRAIN, f"only {found:.0%} of the brain is found")
    outside = float((mask & ~brain).sum() / mask.sum())
    require(outside <= MOST_OUTSIDE, f"{outside:.0%} of the mask is not brain")


def takes_any_scan(subject: Subject, _folder: Path) -> None:
    """One slice, an odd size and nothing but air are taken; in air there is no brain."""
    extractor, head = subject.build(), toy_head()
    for voxels in (head.voxels[5:6], head.voxels[:, 3:, 6:]):
        _mask(extractor, volume_of(voxels, 4.0, 11.0))
    air = np.full((4, 37, 53), AIR_HU, np.float32)
    require(not _mask(extractor, volume_of(air, 4.0, 11.0)).any(), "finds brain in a scan of air")


def is_repeatable(subject: Subject, _folder: Path) -> None:
    """The same scan gives the same mask, also after another scan."""
    volume, extractor = toy_head(), subject.build()
    first = _mask(extractor, volume)
    extractor(toy_head(size=48))
    require(np.array_equal(first, _mask(extractor, volume)), "the same scan gives another mask the second time")


def goes_to_worker_processes(subject: Subject, _folder: Path) -> None:
    """It can be pickled, so that `ctseg preprocess --workers` can use it, and works the same afterwards."""
    volume, extractor = toy_head(), subject.build()
    copy = pickle.loads(pickle.dumps(extractor))  # noqa: S301 - pickled on this very line
    require(np.array_equal(_mask(extractor, volume), _mask(copy, volume)), "its pickled copy gives another mask")
