"""Brain masks cached on disk, so that a second model on the same scans need not extract the brain again."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.files import regular, write_with
from ctseg.io.volume import Volume
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.brain_mask import brain_of
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.version import __version__

NPY_HEADER = 4096
"""Bytes; numpy's are 128."""


@dataclass(frozen=True)
class BrainMaskCache:
    """A brain extractor that caches the masks of another one.

    The key is a digest of the voxels, their geometry, and the extractor with its settings and version: a file holds no
    name, and a changed scan or extractor is a new entry.
    """

    extractor: BrainExtractor
    folder: Path
    preprocessing: PreprocessSettings
    """Names the extractor and its settings."""
    version: str = __version__
    """Of the package that the extractor comes from."""

    def __call__(self, volume: Volume) -> NDArray[np.bool_]:
        """(K, h, w) the brain of a CT volume; from the folder where it is cached."""
        path = self.folder / f"{self._digest(volume)}.npz"
        cached = _read(path, volume.voxels.shape)
        if cached is not None:
            return cached
        brain = brain_of(self.extractor, volume)

        def save(temporary: Path) -> None:
            np.savez_compressed(temporary, brain=np.packbits(brain))

        write_with(path, save)
        return brain

    def _digest(self, volume: Volume) -> str:
        key = [self.preprocessing.brain_extractor, self.preprocessing.brain_extractor_settings, self.version]
        digest = blake2b(json.dumps(key, sort_keys=True, default=str).encode(), digest_size=16)
        geometry = (volume.origins_mm, volume.row_step_mm, volume.col_step_mm)
        for part in (volume.voxels, *geometry):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """The cached mask; None where there is none, or one that cannot be read, or would unpack to more than it."""
    count = int(np.prod(shape))
    try:
        with zipfile.ZipFile(regular(path)) as packed:
            if sum(info.file_size for info in packed.infolist()) > (count + 7) // 8 + NPY_HEADER:
                return None
        with np.load(path, allow_pickle=False) as file:
            bits = file["brain"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    if bits.dtype != np.uint8 or bits.shape != ((count + 7) // 8,):
        return None
    return np.unpackbits(bits, count=count).astype(bool).reshape(shape)
