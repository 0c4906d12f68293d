"""The brain as an extractor finds it, checked: whatever a plugin gives, it is a mask on the scan's grid or an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import PluginError
from ctseg.io.volume import Volume
from ctseg.plugins.called import name_of
from ctseg.plugins.protocols import BrainExtractor


def brain_of(extractor: BrainExtractor, volume: Volume) -> NDArray[np.bool_]:
    """(K, h, w) the brain of a CT volume, which the extractor cannot change.

    Raises:
        PluginError: if what it gives is no mask of 0 and 1 on the volume's grid. Probabilities and labels are refused:
            read as a mask, every value above 0 would be brain.
    """
    given: Any = extractor(read_only(volume))
    found, who = np.asarray(given), _name(extractor)
    if found.shape != volume.voxels.shape:
        what = f"an array of shape {found.shape}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
        raise PluginError(f"{who}: gives {what}, not a mask of the scan's shape {volume.voxels.shape}")
    if found.dtype != np.bool_ and not _is_mask(found):
        raise PluginError(f"{who}: gives {found.dtype} with other values than 0 and 1, not a mask")
    return found.astype(bool, copy=False)


def read_only(volume: Volume) -> Volume:
    """The volume with the same voxels and labels, which cannot be written into by way of it."""
    labels = None if volume.labels is None else _view(volume.labels)
    return replace(volume, voxels=_view(volume.voxels), labels=labels)


def _view(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def _is_mask(found: NDArray[Any]) -> bool:
    """Whether there are no values but 0 and 1; NaN is neither."""
    return found.dtype.kind in "iuf" and bool(((found == 0) | (found == 1)).all())


def _name(extractor: Any) -> str:
    """The innermost extractor, as its plugin is called, or its own name."""
    while getattr(extractor, "extractor", None) is not None and not hasattr(extractor, "who"):
        extractor = extractor.extractor
    return str(getattr(extractor, "who", f"brain extractor {name_of(extractor)}"))
