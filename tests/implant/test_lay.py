from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from implant_heads import make_head
from scipy import ndimage

from ctseg.implant.head import Head
from ctseg.implant.lay import Implant, add, implant_at, implant_into
from ctseg.implant.places import GAP_MM, Places
from ctseg.implant.wanted import Kind, Wanted
from ctseg.io.discover import discover, read_case
from ctseg.io.stack import Grid


def implanted(head: Head, wanted: Wanted, seed: int = 3) -> Implant:
    found = implant_into(head, np.random.default_rng(seed), wanted)
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "ml", "hu"),
    [("deep", 2, 45), ("deep", 15, 60), ("lobar", 40, 52), ("contusion", 5, 45), ("microbleed", 0.4, 50)],
)
@pytest.mark.parametrize(("pixel_mm", "step_mm", "tilt_deg"), [(0.5, 5, 0), (1.0, 2.5, 18), (2.5, 5, 0)])
def test_mask_has_the_wanted_volume_and_hu(
    kind: Kind, ml: float, hu: float, pixel_mm: float, step_mm: float, tilt_deg: float
) -> None:
    if ml < 1 and pixel_mm > 2:
        pytest.skip("a microbleed is smaller than ten such voxels")
    head = Head.of(*make_head(pixel_mm, step_mm, tilt_deg)[:3])
    found = implanted(head, Wanted(kind, ml, hu))
    mask, new = found.whole_mask(head.voxels.shape), add(head.voxels, [found])
    assert head.grid.volume_ml(mask) == pytest.approx(ml, rel=0.15)
    assert found.ml == pytest.approx(head.grid.volume_ml(mask))
    assert float(new[mask].mean()) == pytest.approx(hu, abs=0.5)
    assert found.hu == pytest.approx(hu, abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deep", "lobar", "contusion"])
def test_blood_stays_in_brain_and_out_of_bone_and_ventricles(head: Head, kind: Kind) -> None:
    _, _, brain, ventricle = make_head()
    found = implanted(head, Wanted(kind, 15, 60, oedema_mm=10))
    change = add(head.voxels, [found]) - head.voxels
    mask = found.whole_mask(brain.shape)
    assert np.abs(change[~brain]).max() == 0
    assert (mask & ~brain).sum() == 0
    assert (mask & ventricle).sum() < 0.03 * mask.sum()


@pytest.mark.slow
def test_thick_slices_are_the_mean_of_thin_ones() -> None:
    thin, thick = (Head.of(*make_head(1.0, step, noise_hu=0.0)[:3]) for step in (1.0, 5.0))
    wanted = Wanted("deep", 15, 60, oedema_mm=0)
    place = next((k, r, c) for k, r, c in np.argwhere(Places(thick).chances(wanted) > 0).tolist() if abs(k - 13) < 3)
    middle = thick.native(place)
    z = thick.grid.origins_mm[middle[0], 2]
    k = int(np.abs(thin.grid.origins_mm[:, 2] - z).argmin())
    one = implant_at(thick, np.random.default_rng(4), wanted, place)
    fine = implant_at(thin, np.random.default_rng(4), wanted, (k, *place[1:]))
    assert one is not None
    assert fine is not None
    covers = [np.zeros(head.voxels.shape, dtype=np.float32) for head in (thick, thin)]
    covers[0][one.box], covers[1][fine.box] = one.cover, fine.cover
    mean = covers[1].reshape(26, 5, *covers[1].shape[1:]).mean(axis=1)
    assert np.abs(covers[0] - mean).mean() / mean.mean() < 0.12
    partial = (covers[0] > 0.15) & (covers[0] < 0.85)
    ends = [int(at) for at in np.flatnonzero((covers[0] > 0.1).any(axis=(1, 2)))[[0, -1]]]
    assert all(partial[at].any() for at in ends)


@pytest.mark.slow
def test_the_noise_of_the_scan_stays_under_the_blood(head: Head) -> None:
    found = implanted(head, Wanted("deep", 40, 60, oedema_mm=0))
    inner = ndimage.binary_erosion(found.whole_mask(head.voxels.shape), np.ones((1, 7, 7)))
    old, new = head.voxels, add(head.voxels, [found])
    before, after = ((scan - ndimage.gaussian_filter(scan, (0, 1, 1)))[inner] for scan in (old, new))
    assert np.corrcoef(before, after)[0, 1] > 0.9
    assert after.std() == pytest.approx(before.std(), rel=0.15)


@pytest.mark.slow
def test_oedema_darkens_the_brain_around_and_nothing_else(head: Head) -> None:
    rim = implanted(head, Wanted("deep", 5, 60, oedema_mm=10, oedema_hu=-10))
    bare = implanted(head, Wanted("deep", 5, 60, oedema_mm=0, oedema_hu=-10))
    whole = rim.whole_mask(head.voxels.shape)
    around = ndimage.binary_dilation(whole, np.ones((1, 3, 3)), iterations=6) & ~ndimage.binary_dilation(
        whole, np.ones((3, 3, 3)), iterations=2
    )
    change = add(head.voxels, [rim]) - head.voxels
    assert change[around].mean() < -3
    assert bare.change[bare.cover == 0].min(initial=0) == 0


@pytest.mark.slow
def test_a_contusion_without_oedema_is_blood_alone(head: Head) -> None:
    found = implanted(head, Wanted("contusion", 5, 60, oedema_mm=0))
    assert np.isfinite(found.change).all()
    assert np.abs(found.change[found.cover == 0]).max(initial=0) == 0


@pytest.mark.slow
def test_same_seed_same_scan_other_seed_other_place(head: Head) -> None:
    one, same, other = (implanted(head, Wanted("lobar", 5, 52), seed) for seed in (7, 7, 8))
    assert np.array_equal(add(head.voxels, [one]), add(head.voxels, [same]))
    assert one.place != other.place


@pytest.mark.slow
def test_several_keep_apart_and_the_scan_is_not_written(head: Head) -> None:
    before, rng, places = head.voxels.copy(), np.random.default_rng(0), Places(head)
    found = [implant_into(head, rng, Wanted("lobar", ml, 52), places) for ml in (15, 5, 5, 2, 2)]
    masks = [item.whole_mask(head.voxels.shape) for item in found if item is not None]
    assert len(masks) == 5
    add(head.voxels, [item for item in found if item is not None])
    assert np.array_equal(before, head.voxels)
    for n, mask in enumerate(masks):
        others = np.any(masks[:n] + masks[n + 1 :], axis=0)
        distance = ndimage.distance_transform_edt(~others, (5, 1, 1))
        assert distance[mask].min() > 0.5 * GAP_MM


def test_where_nothing_fits_there_is_none() -> None:
    voxels, grid, brain, _ = make_head()
    small = np.zeros_like(brain)
    small[12:14, 95:105, 95:105] = True
    head = Head.of(voxels, grid, small)
    assert implant_into(head, np.random.default_rng(0), Wanted("deep", 40, 60)) is None
    places = Places(Head.of(voxels, grid, brain))
    places.take(brain)
    assert places.draw(np.random.default_rng(0), Wanted("deep", 2, 60)) is None


@pytest.mark.slow
def test_a_whole_scan_takes_well_under_a_third_of_a_second() -> None:
    head = Head.of(*make_head(0.5, 5, 0)[:3])
    implanted(head, Wanted("deep", 15, 52))
    spent = []
    for seed in range(5):
        started = time.process_time()
        implanted(head, Wanted("deep", 15, 52), seed)
        spent.append(time.process_time() - started)
    assert np.median(spent) < 0.3


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_head_takes_every_kind(real_data: Path) -> None:
    volume = read_case(discover([real_data / "ct-ge-tilted"], "ct").cases[0])
    part = slice(10, 20)
    brain = ndimage.binary_erosion((volume.voxels[part] > 0) & (volume.voxels[part] < 80), np.ones((1, 5, 5)))
    labels, _ = ndimage.label(brain)
    brain = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    grid = Grid(volume.origins_mm[part], volume.row_step_mm, volume.col_step_mm, volume.slab_mm[part])
    head = Head.of(volume.voxels[part], grid, brain)
    kinds: tuple[Kind, ...] = ("deep", "lobar", "contusion")
    for kind in kinds:
        found = implanted(head, Wanted(kind, 2, 52))
        assert found.hu == pytest.approx(52, abs=0.5)
