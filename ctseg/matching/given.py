"""Slice sets and metrics that a program hands over: checked as those that were opened from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ctseg.arguments import of_kind, refused
from ctseg.errors import InputError
from ctseg.io.slices import SliceSet
from ctseg.plugins.protocols import SimilarityMetric


def checked_set(given: Any, what: str, *, masked: bool = False) -> SliceSet:
    """A slice set as `open_slices` gives it, whoever made it.

    Args:
        given: the set.
        what: function and argument.
        masked: whether its masks are looked at. Those that `open_slices` has mapped were read by it.

    Raises:
        InputError: if it is none, its images are no (N, H, W) uint8, its masks no 0 and 1 of that shape, or its table
            does not name each slice once.
    """
    slices = of_kind(given, SliceSet, what, "a slice set (`ctseg.io.slices.open_slices(folder)`)")
    images, masks = slices.images, slices.masks if masked else None
    _check_array(images, f"{what}: images")
    if masks is not None:
        _check_array(masks, f"{what}: masks")
        if masks.shape != images.shape or (not isinstance(masks, np.memmap) and masks.max() > 1):
            raise InputError(f"{what}: masks of shape {masks.shape}; expected 0 and 1 of shape {images.shape}")
    if not isinstance(slices.info, Mapping) or slices.info.get("domain") not in ("mr", "ct"):
        raise InputError(f"{what}: info has no domain; expected 'mr' or 'ct'")
    _check_names(slices.table, len(images), f"{what}: table")
    return slices


def _check_array(given: Any, what: str) -> None:
    kind, shape = getattr(given, "dtype", type(given).__name__), getattr(given, "shape", ())
    if not isinstance(given, np.ndarray) or given.dtype != np.uint8 or given.ndim != 3 or not given.size:
        raise InputError(f"{what}: {kind} of shape {tuple(shape)}; expected uint8 of (slices, rows, columns)")


def _check_names(table: Any, count: int, what: str) -> None:
    names = of_kind(table, pd.DataFrame, what).get("slice_id")
    if names is None or len(names) != count or names.isna().any() or names.duplicated().any():
        raise InputError(f"{what}: expected a column slice_id that names each of the {count} slices once")


def check_metric(given: Any, what: str) -> None:
    """Refuse what is no similarity metric.

    Raises:
        InputError: if it lacks `describe` or `distance`, or is a class that has not been called.
    """
    if isinstance(given, type) or not isinstance(given, SimilarityMetric):
        raise refused(what, given, "a similarity metric, such as `ctseg.matching.metrics.AmdMetric()`")
