"""A file of tensors takes no more memory than its bytes: torch saves nothing packed, so what is packed is a bomb."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ctseg.checkpoints import load_checkpoint, not_swelling, save_checkpoint
from ctseg.cli.warm_start import _state_dict
from ctseg.errors import InputError
from ctseg.inference.brain_cache import _read

STATE = {"epoch": 1, "weights": torch.zeros(500_000)}


def packed(path: Path, bomb: Path) -> Path:
    """The same members, deflated."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return bomb


def test_what_torch_saved_is_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, STATE)
    assert not_swelling(tmp_path / "checkpoint.pt") == tmp_path / "checkpoint.pt"
    assert load_checkpoint(tmp_path)["epoch"] == 1
    torch.save({"a": torch.ones(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert _state_dict(tmp_path / "old.pth")["a"].tolist() == [1, 1, 1]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    save_checkpoint(tmp_path / "a", STATE)
    bomb = packed(tmp_path / "a" / "checkpoint.pt", tmp_path / "checkpoint.pt")
    assert torch.load(bomb, weights_only=True)["epoch"] == 1, "torch itself unpacks it"
    for read in (lambda: load_checkpoint(tmp_path), lambda: _state_dict(bomb)):
        with pytest.raises(InputError, match="checkpoint.pt: would unpack to 1 MiB"):
            read()


@pytest.mark.parametrize("name", ["checkpoint.pt", "a.pth"])
def test_a_broken_archive_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4" + b"x" * 100)
    with pytest.raises(InputError, match=name):
        load_checkpoint(tmp_path) if name == "checkpoint.pt" else _state_dict(tmp_path / name)


def test_a_cached_mask_holds_no_more_than_the_scan(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", brain=np.zeros(125, np.uint8))
    assert _read(tmp_path / "a.npz", (10, 10, 10)) is not None
    np.savez_compressed(tmp_path / "b.npz", brain=np.zeros(125, np.uint8), other=np.zeros(10**7))
    assert _read(tmp_path / "b.npz", (10, 10, 10)) is None
