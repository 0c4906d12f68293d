"""Slice sets are written case by case, or in one go from memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.errors import InputError
from ctseg.files import sync, write_csv, write_json
from ctseg.io.slice_table import COLUMNS, check_leak
from ctseg.io.slices import SCHEMA
from ctseg.version import __version__

COPY_BYTES = 1 << 26
"""Bytes of an array that are copied in one go."""


def write_slices(
    folder: Path,
    *,
    domain: str,
    images: NDArray[np.uint8],
    masks: NDArray[np.uint8] | None,
    table: pd.DataFrame,
    intensity: Mapping[str, Any],
    settings: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Fill `folder` (made by `ctseg.files.new_folder`) with a slice set held in memory.

    Args:
        folder: an existing, empty folder.
        domain: 'mr' or 'ct'.
        images: (N, H, W) uint8.
        masks: (N, H, W) uint8 0/1, or None.
        table: N rows with at least `COLUMNS`.
        intensity: `{"a": .., "b": .., "unit": ..}` with uint8 = a * x + b; a and b None where they differ by case
            (then columns `intensity_a`, `intensity_b` hold them).
        settings: what made the set.
        extra: further keys of `dataset.json` (counts, notes).
    """
    writer = SliceWriter(folder, domain, images.shape[1:], labelled=masks is not None)
    writer.add(images, masks, table)
    writer.close(intensity=intensity, settings=settings, extra=extra)


class SliceWriter:
    """Writes a slice set case by case without holding it in memory."""

    def __init__(self, folder: Path, domain: str, size: tuple[int, ...], *, labelled: bool) -> None:
        self.folder, self.domain, self.size, self.labelled = Path(folder), domain, tuple(size), labelled
        self._images = (self.folder / "images.raw").open("wb")
        self._masks = (self.folder / "masks.raw").open("wb") if labelled else None
        self._tables: list[pd.DataFrame] = []

    def add(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None, table: pd.DataFrame) -> None:
        """Append (n, H, W) slices with their rows."""
        _put(self._images, images)
        if self._masks is not None:
            if masks is None:
                raise ValueError("a labelled slice set needs masks with every case")
            _put(self._masks, masks)
        self._tables.append(table)

    def close(
        self, *, intensity: Mapping[str, Any], settings: Mapping[str, Any], extra: Mapping[str, Any] | None = None
    ) -> None:
        """Write headers, table and `dataset.json`.

        Raises:
            InputError: if nothing was added, or a patient is in two splits.
        """
        self._images.close()
        if self._masks is not None:
            self._masks.close()
        table = pd.concat(self._tables, ignore_index=True) if self._tables else pd.DataFrame(columns=list(COLUMNS))
        if not len(table):
            raise InputError(f"{self.folder}: no slice was left to write; check --slices, --select and the input")
        check_leak(table, self.folder)
        shape = (len(table), *self.size)
        _raw_to_npy(self.folder / "images.raw", self.folder / "images.npy", shape)
        if self.labelled:
            _raw_to_npy(self.folder / "masks.raw", self.folder / "masks.npy", shape)
        write_csv(self.folder / "slices.csv", table)
        sync(self.folder / "slices.csv")
        write_json(self.folder / "dataset.json", self._info(table, intensity, settings, extra))

    def _info(
        self,
        table: pd.DataFrame,
        intensity: Mapping[str, Any],
        settings: Mapping[str, Any],
        extra: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        splits = {str(name): int(count) for name, count in table["split"].value_counts().sort_index().items()}
        counts = {
            "slices": len(table),
            "patients": int(table["patient_id"].nunique()),
            "series": int(table["series_id"].nunique()),
            "slices_with_lesion": int((pd.to_numeric(table["lesion_px"], errors="coerce") > 0).sum()),
            "splits": splits,
        }
        return {
            "schema": SCHEMA,
            "domain": self.domain,
            "size": list(self.size),
            "labelled": self.labelled,
            "intensity": dict(intensity),
            "counts": counts,
            "settings": dict(settings),
            "tool": f"ctseg {__version__}",
            **(extra or {}),
        }


def _put(file: IO[bytes], slices: NDArray[np.uint8]) -> None:
    """Append slices; a file that the disk refuses is closed, or Python would try and complain once more at its end.

    Raises:
        OSError: if the disk refuses it.
    """
    try:
        file.write(np.ascontiguousarray(slices, dtype=np.uint8).tobytes())
    except OSError:
        with suppress(OSError):
            file.close()
        raise


def _raw_to_npy(raw: Path, path: Path, shape: tuple[int, ...]) -> None:
    """Put a .npy header before raw uint8 data without holding it in memory; a full disk is an OSError."""
    head = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file, raw.open("rb") as data:
        np.lib.format.write_array_header_1_0(file, head)
        shutil.copyfileobj(data, file, COPY_BYTES)
    raw.unlink()
    sync(path)
