from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ctseg.errors import CaseError, SettingError
from ctseg.io.case import Case, Discovery
from ctseg.preprocess import cases
from ctseg.preprocess.cases import CaseTask, process_case
from ctseg.preprocess.implants import with_implants
from ctseg.preprocess.pipeline import preprocess
from ctseg.preprocess.settings import PreprocessSettings

SETTINGS = PreprocessSettings(size=64, fov_mm=200.0, implants=4, min_brain_mm2=500)


@pytest.fixture
def scan(head, volume_of):
    hu, brain = head
    return volume_of(hu), brain


def drawn(scan, **more):
    """Implants of a scan under the first seed that lays in two at least."""
    for seed in range(10):
        changed, blood, implants = with_implants(*scan, most=4, seed=seed, **more)
        if len(implants) > 1:
            return changed, blood, implants, seed
    raise AssertionError("no seed of ten implanted two haematomas")


def test_blood_lies_in_the_brain_with_the_wanted_volume_and_hu(scan):
    volume, brain = scan
    changed, blood, implants, _ = drawn(scan)
    assert not (blood & ~brain).any()
    assert sum(item.mask.sum() for item in implants) == blood.sum()  # none lies on another
    for item in implants:
        assert item.ml == pytest.approx(item.wanted.ml, rel=0.16)
        assert changed.voxels[item.box][item.mask].mean() == pytest.approx(item.wanted.hu, abs=2)
    assert np.array_equal(changed.voxels[~brain], volume.voxels[~brain])


def test_contusions_alone_are_implanted_where_their_share_is_1(scan):
    _, _, implants, _ = drawn(scan, contusion_share=1)
    assert {item.wanted.kind for item in implants if item.wanted.ml <= 25} == {"contusion"}


def test_a_share_of_no_implants_is_refused():
    with pytest.raises(SettingError, match=r"contusion_share: .* add --set implants=4"):
        PreprocessSettings(contusion_share=0.5)


def test_the_same_seed_and_case_give_the_same_and_another_case_gives_others(scan):
    volume, brain = scan
    changed, _, _, seed = drawn(scan)
    assert np.array_equal(with_implants(volume, brain, 4, seed)[0].voxels, changed.voxels)
    other = with_implants(replace(volume, case_id="other"), brain, 4, seed)[0]
    assert not np.array_equal(other.voxels, changed.voxels)


def test_the_scans_own_lesion_is_left_alone(scan):
    volume, brain = scan
    labels = np.zeros(brain.shape, np.uint8)
    labels[10:20, 30:50, 20:40] = brain[10:20, 30:50, 20:40]
    _, blood, _, _ = drawn((replace(volume, labels=labels), brain))
    assert not (blood & (labels > 0)).any()


@pytest.fixture
def read(monkeypatch, scan):
    """The reader gives the scan; a task that finds its brain."""
    monkeypatch.setattr(cases, "read_case", lambda case: scan[0])
    monkeypatch.setattr(cases, "input_digest", lambda case: "digest")
    return Case("case", "patient", "nifti", "ct", files=())


def test_slices_of_an_unlabelled_scan_get_masks(read, scan):
    _, brain = scan
    *_, seed = drawn(scan)
    task = CaseTask(SETTINGS.model_copy(update={"seed": seed}), lambda _: brain, labelled=False)
    made = process_case(read, task)
    assert made.masks is not None
    assert made.masks.any()
    assert made.notes[-1].startswith("implanted: ")
    assert made.images[made.masks > 0].mean() > made.images[made.images > 0].mean() + 10
    without = process_case(read, CaseTask(PreprocessSettings(size=64, fov_mm=200.0), lambda _: brain, labelled=False))
    assert without.masks is None


def test_a_scan_without_a_brain_is_refused_as_ever(read, scan):
    task = CaseTask(SETTINGS, lambda _: np.zeros(scan[1].shape, bool), labelled=False)
    with pytest.raises(CaseError, match="no brain found"):
        process_case(read, task)


def test_mr_is_refused(tmp_path):
    found = Discovery([Case("a", "a", "nifti", "mr", files=(tmp_path / "a.nii.gz",))], [])
    with pytest.raises(SettingError, match="implants: haematomas are for CT"):
        preprocess(found, tmp_path, SETTINGS)
