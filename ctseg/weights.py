"""Files of weights: safetensors, whose header is read here without torch, and whose path may be of any bytes.

The package's own `load_file` takes no path that is no UTF-8: a model that was trained into such a folder could not be
used.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.errors import InputError
from ctseg.files import bounded

if TYPE_CHECKING:
    from torch import Tensor

HEADER_LIMIT = 100_000_000
"""safetensors' own bound on the header's size in bytes."""
MOST_WEIGHTS = 1 << 33
"""Bytes of a file of weights that are read: a sparse file claims terabytes, whose digest takes hours."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU.

    Raises:
        safetensors.SafetensorError: if it is broken.
        InputError: if it is no regular file, or larger than weights are.
        OSError: if it cannot be read.
    """
    from safetensors.torch import load

    return dict(load(bounded(path, MOST_WEIGHTS).read_bytes()))


def read_metadata(path: Path) -> dict[str, str]:
    """The `__metadata__` of a safetensors file: 8 bytes of length, then JSON, then as many bytes as it says.

    Raises:
        InputError: if it is none, or shorter or longer than it says.
        OSError: if it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else HEADER_LIMIT + 1
        if length > min(HEADER_LIMIT, size):
            raise InputError(f"{path}: not a safetensors file, or cut short; copy it again")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            header = None
    if not isinstance(header, dict):
        raise InputError(f"{path}: not a safetensors file, or cut short; copy it again")
    expected = 8 + length + max((_end(entry) for entry in header.values()), default=0)
    if size != expected:
        raise InputError(
            f"{path}: has {size} bytes where its header says {expected}: cut short or damaged; copy it again"
        )
    metadata = header.get("__metadata__")
    return dict(metadata) if isinstance(metadata, dict) else {}


def _end(entry: Any) -> int:
    """Where a tensor's bytes end, from its entry in the header; 0 for what is no tensor."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    end = offsets[-1] if isinstance(offsets, list) and offsets else 0
    return end if isinstance(end, int) else 0
