"""Digests of what an artefact is made from."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from ctseg.io.input_digests import DIGITS, file_sha256, set_digests, set_digests_beside
from ctseg.io.slices import SliceSet


@pytest.fixture
def slices(tmp_path: Path) -> SliceSet:
    for name, content in (("images.npy", b"\x00" * 3_000_000 + b"\x07"), ("slices.csv", b"a\n1\n")):
        (tmp_path / name).write_bytes(content)
    return SliceSet(tmp_path, None, None, None, {"domain": "ct"})  # type: ignore[arg-type]


def test_the_digest_is_sha_256(slices: SliceSet) -> None:
    path = slices.folder / "images.npy"
    assert file_sha256(path) == sha256(path.read_bytes()).hexdigest()


def test_digests_beside_other_work_are_the_same(slices: SliceSet) -> None:
    with set_digests_beside({"source": slices, "target": slices}) as digests:
        assert digests() == {"source": set_digests(slices), "target": set_digests(slices)}
    assert set_digests(slices)["images"] == sha256(b"\x00" * 3_000_000 + b"\x07").hexdigest()[:DIGITS]


def test_a_set_that_cannot_be_read_is_told_where_its_digests_are_asked_for(slices: SliceSet) -> None:
    (slices.folder / "masks.npy").mkdir()
    with set_digests_beside({"source": slices}) as digests, pytest.raises(OSError, match="masks"):
        digests()


def test_an_error_of_the_block_comes_through(slices: SliceSet) -> None:
    with pytest.raises(ValueError, match="of the block"), set_digests_beside({"source": slices}):
        raise ValueError("of the block")
