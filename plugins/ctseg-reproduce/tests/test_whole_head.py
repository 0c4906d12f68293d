from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from ctseg_reproduce.whole_head import WHOLE_HEAD, WholeHeadExtractor

from ctseg.conformance.kit import checks
from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume
from ctseg.plugins.host import load


def head(folder: Path, make_head: Callable[..., None]) -> Volume:
    make_head(folder / "scans", folder / "truth", "one", 20)
    return read_case(discover(folder / "scans", "ct").cases[0])


def test_bone_and_brain_are_head_and_air_is_not(tmp_path: Path, make_head: Callable[..., None]) -> None:
    volume = head(tmp_path, make_head)
    mask = WholeHeadExtractor()(volume)
    np.testing.assert_array_equal(mask, volume.voxels > -200)
    assert mask[volume.voxels > 500].all()


def test_a_table_beside_the_head_is_left_out(tmp_path: Path, make_head: Callable[..., None]) -> None:
    volume = head(tmp_path, make_head)
    before = WholeHeadExtractor()(volume)
    voxels = np.array(volume.voxels)
    voxels[:, -1] = 100
    assert not before[:, -1].any()
    table = replace(volume, voxels=voxels)
    np.testing.assert_array_equal(WholeHeadExtractor()(table), before)


def test_there_is_no_head_in_air(tmp_path: Path, make_head: Callable[..., None]) -> None:
    volume = head(tmp_path, make_head)
    air = replace(volume, voxels=np.full_like(volume.voxels, -1000))
    assert not WholeHeadExtractor()(air).any()


def test_it_is_a_brain_extractor_of_this_package_and_goes_to_workers() -> None:
    entry = load().get("brain_extractor", WHOLE_HEAD)
    assert entry.package == "ctseg-reproduce"
    assert isinstance(pickle.loads(pickle.dumps(entry.build())), WholeHeadExtractor)  # noqa: S301 - made in this line


def test_of_the_contract_it_breaks_only_what_it_is_there_to_break() -> None:
    found = [check.run() for check in checks("brain_extractor", WHOLE_HEAD)]
    assert [item.check for item in found if item.status == "failed"] == ["finds_brain_and_no_air"]
    assert next(item.detail for item in found if item.status == "failed").endswith("of the mask is not brain")
