from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ctseg.io import pages
from ctseg.io.pages import blocks


@pytest.mark.parametrize("size", [None, 1, 3, 100])
def test_blocks_are_the_array(size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "BLOCK_BYTES", 64)
    array = np.arange(7 * 5 * 4, dtype=np.uint8).reshape(7, 5, 4)
    np.save(tmp_path / "array.npy", array)
    for found in (array, np.load(tmp_path / "array.npy", mmap_mode="r"), array[::2], array[:0]):
        parts = list(blocks(found, size))
        assert b"".join(part.tobytes() for part in parts) == np.ascontiguousarray(found).tobytes()
        assert all(len(part) == (size or 3) for part in parts[:-1])


def test_changes_that_are_not_in_the_file_stay(tmp_path: Path) -> None:
    """The system would forget them with the pages."""
    np.save(tmp_path / "array.npy", np.zeros((4, 4096), dtype=np.uint8))
    array = np.load(tmp_path / "array.npy", mmap_mode="c")
    array[:] = 7
    assert all((block == 7).all() for block in blocks(array, 1))
    assert (array == 7).all()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF") or sys.platform != "linux", reason="kB are Linux's")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    megabytes = 160
    np.lib.format.open_memmap(tmp_path / "array.npy", "w+", np.uint8, (megabytes, 1 << 20))[:] = 1
    code = (
        "import resource, sys, numpy as np\n"
        "from ctseg.io.pages import blocks\n"
        "array = np.load(sys.argv[1], mmap_mode='r')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "total = sum(int(block[:, ::4096].sum()) for block in blocks(array))\n"
        "print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "array.npy")]
    total, grown = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert total == megabytes * 256
    assert grown < 60_000
