"""Brain masks kept for the next model."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from segment_helpers import Head

from ctseg.inference.brain_cache import BrainMaskCache
from ctseg.preprocess.settings import PreprocessSettings


@dataclass
class Counting:
    """Finds what is brighter than air, and counts how often it was asked."""

    calls: list = field(default_factory=list)

    def __call__(self, volume):
        self.calls.append(volume.case_id)
        return volume.voxels > -100


@pytest.fixture
def scan(tilted):
    return tilted.volume(Head().hu(tilted.points()))


def test_a_second_look_at_the_same_scan_is_answered_from_the_folder(scan, tmp_path):
    first, second = Counting(), Counting()
    found = BrainMaskCache(first, tmp_path, PreprocessSettings())(scan)
    again = BrainMaskCache(second, tmp_path, PreprocessSettings())(replace(scan, case_id="other-name"))
    assert (found == again).all()
    assert again.dtype == bool
    assert found.any()
    assert len(first.calls) == 1
    assert not second.calls
    assert scan.case_id not in "".join(path.name for path in tmp_path.iterdir())


def test_other_voxels_geometry_settings_or_version_are_looked_at_anew(scan, tmp_path):
    extractor = Counting()
    BrainMaskCache(extractor, tmp_path, PreprocessSettings())(scan)
    voxels = scan.voxels.copy()
    voxels[0, 0, 0] += 1
    BrainMaskCache(extractor, tmp_path, PreprocessSettings())(scan.with_voxels(voxels))
    BrainMaskCache(extractor, tmp_path, PreprocessSettings())(replace(scan, origins_mm=scan.origins_mm * 1.1))
    other = PreprocessSettings(brain_extractor_settings={"least_ml": 3})
    BrainMaskCache(extractor, tmp_path, other)(scan)
    BrainMaskCache(extractor, tmp_path, PreprocessSettings(), version="9")(scan)
    assert len(extractor.calls) == 5


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_broken_file_is_made_anew(scan, tmp_path, content):
    extractor = Counting()
    keep = BrainMaskCache(extractor, tmp_path, PreprocessSettings())
    found = keep(scan)
    next(tmp_path.glob("*.npz")).write_bytes(content)
    assert (keep(scan) == found).all()
    assert len(extractor.calls) == 2
    assert (keep(scan) == found).all()
    assert len(extractor.calls) == 2


def test_a_mask_of_another_size_is_not_taken(scan, tmp_path):
    keep = BrainMaskCache(Counting(), tmp_path, PreprocessSettings())
    found = keep(scan)
    np.savez_compressed(next(tmp_path.glob("*.npz")), brain=np.packbits(found.ravel()[:80]))
    assert (keep(scan) == found).all()
