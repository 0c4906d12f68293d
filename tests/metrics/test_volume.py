"""Every metric against a second implementation: MONAI where it is installed, plain loops otherwise."""

from __future__ import annotations

import itertools
import math

import nibabel as nib
import numpy as np
import pytest
from nibabel.imagestats import mask_volume

from ctseg.errors import InputError
from ctseg.io.stack import Grid
from ctseg.metrics.lesions import size_of
from ctseg.metrics.overlap import dice_per_slice
from ctseg.metrics.surface import surface, surface_distances
from ctseg.metrics.volume import volume_metrics

SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.5, 0.5), (3.0, 0.7, 0.9)]


def blob(rng, shape, centre, radius):
    place = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1)
    bumps = rng.normal(0, 0.4, shape)
    return np.linalg.norm((place - centre) / radius, axis=-1) + 0.2 * bumps < 1


def pairs(rng):
    """Random, touching, nested, one-voxel and edge-of-the-grid masks."""
    shape = (7, 14, 16)
    one = np.zeros(shape, bool)
    one[3, 5, 6] = True
    other = np.zeros(shape, bool)
    other[5, 9, 2] = True
    left, right = np.zeros(shape, bool), np.zeros(shape, bool)
    left[2:5, 3:8, 2:7] = True
    right[2:5, 3:8, 7:12] = True
    edge = np.zeros(shape, bool)
    edge[:2, :4, 12:] = True
    return {
        "random": (rng.random(shape) < 0.2, rng.random(shape) < 0.3),
        "blobs": (blob(rng, shape, (3, 7, 8), (2, 4, 5)), blob(rng, shape, (3, 6, 9), (3, 5, 4))),
        "one voxel each": (one, other),
        "one voxel in a blob": (one, blob(rng, shape, (3, 6, 7), (2, 4, 4)) | one),
        "touching": (left, right),
        "same": (left, left),
        "edge": (edge, left),
    }


CASES = ["random", "blobs", "one voxel each", "one voxel in a blob", "touching", "same", "edge"]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_monai(rng, name, spacing):
    monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed: pip install --no-deps monai")
    torch = pytest.importorskip("torch")
    pred, ref = pairs(rng)[name]
    batch = [torch.from_numpy(mask)[None, None].float() for mask in (pred, ref)]
    found = volume_metrics(pred, ref, Grid.even(len(pred), spacing), tolerance_mm=2.0)
    hd95 = monai.compute_hausdorff_distance(*batch, include_background=True, percentile=95, spacing=spacing)
    nsd = monai.compute_surface_dice(*batch, [2.0], include_background=True, spacing=spacing)
    assert found["dice"] == pytest.approx(float(monai.compute_dice(*batch)), abs=1e-6)
    assert found["iou"] == pytest.approx(float(monai.compute_iou(*batch)), abs=1e-6)
    assert found["hd95_mm"] == pytest.approx(float(hd95), abs=1e-4)
    assert found["nsd"] == pytest.approx(float(nsd), abs=1e-6)
    matrix = monai.get_confusion_matrix(*batch, include_background=True)
    for metric in ("sensitivity", "precision"):
        truth = float(monai.compute_confusion_matrix_metric(metric, matrix))
        assert found[metric] == pytest.approx(truth, abs=1e-6)


def plain_surface(mask):
    """Surface voxels by loops over the six neighbours."""
    points = []
    for place in zip(*np.nonzero(mask), strict=True):
        for axis, step in itertools.product(range(3), (-1, 1)):
            if axis == 0 and mask.shape[0] == 1:
                continue
            near = list(place)
            near[axis] += step
            outside = not 0 <= near[axis] < mask.shape[axis]
            if outside or not mask[tuple(near)]:
                points.append(tuple(int(index) for index in place))
                break
    return points


def tilted_grid(slices):
    """Uneven steps and a tilt that shifts each slice along the rows."""
    z = np.cumsum([0.0, 4.2, 4.2, 1.1, 7.4, 7.4, 7.4])[:slices]
    origins = np.stack([np.full(slices, 3.0), np.tan(np.radians(18.5)) * z, z], axis=1)
    return Grid(
        origins,
        np.array([0, 0.6, 0.0]),
        np.array([0.5, 0, 0.0]),
        np.array([4.2, 4.2, 2.65, 4.25, 7.4, 7.4, 7.4])[:slices],
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_surface_distances_on_a_tilted_uneven_grid_are_those_of_plain_loops(rng, name):
    pred, ref = pairs(rng)[name]
    grid = tilted_grid(len(pred))

    def place(point):
        k, r, c = point
        return grid.origins_mm[k] + r * grid.row_step_mm + c * grid.col_step_mm

    near, far = (np.array([place(point) for point in plain_surface(mask)]) for mask in (pred, ref))
    matrix = np.array([[math.dist(a, b) for b in far] for a in near])
    to_ref, to_pred = surface_distances(pred, ref, grid)
    np.testing.assert_allclose(to_ref, matrix.min(axis=1), atol=1e-9)
    np.testing.assert_allclose(to_pred, matrix.min(axis=0), atol=1e-9)


def test_surface_of_one_slice_is_its_rim():
    mask = np.zeros((1, 6, 6), bool)
    mask[0, 1:5, 1:5] = True
    assert surface(mask).sum() == 12
    assert {tuple(point) for point in np.argwhere(surface(mask))} == set(plain_surface(mask))


def test_hd95_takes_the_larger_direction_not_the_pooled_distances():
    grid = Grid.even(1, (1, 1, 1))
    ref = np.zeros((1, 4, 200), bool)
    ref[0, 1, :100] = True
    pred = ref.copy()
    pred[0, 1, 100:130] = True
    far = np.r_[np.zeros(100), np.arange(1, 31)]
    assert volume_metrics(pred, ref, grid)["hd95_mm"] == pytest.approx(np.percentile(far, 95))
    assert np.percentile(np.r_[far, np.zeros(100)], 95) < np.percentile(far, 95) - 2


def test_distances_scale_with_slice_steps():
    ref = np.zeros((3, 5, 5), bool)
    pred = ref.copy()
    ref[0, 2, 2], pred[2, 2, 2] = True, True
    assert volume_metrics(pred, ref, Grid.even(3, (5, 1, 1)))["hd95_mm"] == 10
    assert volume_metrics(pred, ref, Grid.even(3, (0.8, 1, 1)))["nsd"] == 1


def test_empty_masks_follow_the_stated_rules():
    nothing, something = np.zeros((3, 4, 4), bool), np.zeros((3, 4, 4), bool)
    something[1, 1:3, 1:3] = True
    grid = Grid.even(3, (5, 0.5, 0.5))
    both = volume_metrics(nothing, nothing, grid)
    assert all(math.isnan(both[name]) for name in ("dice", "iou", "sensitivity", "precision", "hd95_mm", "nsd"))
    assert both["pred_ml"] == both["error_ml"] == both["lesions_fp"] == 0
    missed = volume_metrics(nothing, something, grid)
    assert missed["dice"] == missed["iou"] == missed["nsd"] == missed["sensitivity"] == 0
    assert math.isnan(missed["hd95_mm"])
    assert math.isnan(missed["precision"])
    assert missed["lesions_fn"] == missed["lesions_fn_small"] == 1
    false_positive = volume_metrics(something, nothing, grid)
    assert false_positive["dice"] == false_positive["precision"] == 0
    assert math.isnan(false_positive["sensitivity"])
    assert false_positive["error_ml"] == pytest.approx(4 * 5 * 0.25 / 1000)


def test_volume_uses_each_slice_s_own_thickness():
    mask = np.zeros((7, 4, 4), bool)
    mask[2, 0, :3], mask[5, 1, 1] = True, True
    found = volume_metrics(mask, mask, tilted_grid(7))
    assert found["pred_ml"] == pytest.approx((3 * 2.65 + 7.4) * 0.6 * 0.5 / 1000)


def test_signed_and_absolute_volume_error():
    pred, ref = np.zeros((2, 10, 10), bool), np.ones((2, 10, 10), bool)
    pred[0] = True
    found = volume_metrics(pred, ref, Grid.even(2, (5, 1, 1)))
    assert (found["pred_ml"], found["ref_ml"]) == (0.5, 1.0)
    assert (found["error_ml"], found["abs_error_ml"]) == (-0.5, 0.5)


def test_detected_missed_and_false_positive_lesions_by_size():
    grid = Grid.even(3, (10, 10, 10))  # 1 mL a voxel
    ref, pred = np.zeros((3, 20, 20), bool), np.zeros((3, 20, 20), bool)
    ref[0, 0, 0:3] = True  # 3 mL, detected by one voxel
    pred[0, 0, 2:4] = True
    ref[0, 6:9, 0:4] = True  # 12 mL, missed
    pred[0, 15, 15] = True  # 1 mL, false positive
    pred[1, 16, 16] = True  # touches it by a corner: the same lesion, now 2 mL
    found = volume_metrics(pred, ref, grid)
    assert (found["lesions_tp"], found["lesions_fn"], found["lesions_fp"]) == (1, 1, 1)
    assert found["lesions_tp_medium"] == found["lesions_fn_large"] == found["lesions_fp_medium"] == 1
    assert volume_metrics(pred, ref, grid, min_lesion_ml=2.5)["lesions_fp"] == 0
    assert volume_metrics(pred, ref, grid, min_lesion_ml=3.5)["lesions_tp"] == 0


@pytest.mark.parametrize(("ml", "size"), [(0.999, "small"), (1, "medium"), (10, "medium"), (10.001, "large")])
def test_size_classes(ml, size):
    assert size_of(ml) == size


@pytest.mark.parametrize(("share", "spacing"), [(0.06, (1.0, 1.0, 1.0)), (0.08, (9.0, 6.0, 8.0))])
def test_lesions_of_each_size_agree_with_flood_fill(rng, share, spacing):
    pred, ref = rng.random((2, 5, 20, 20)) < share
    voxel_ml = math.prod(spacing) / 1000
    counts = dict.fromkeys(itertools.product(("tp", "fn", "fp"), ("small", "medium", "large")), 0)
    for mask, other, hit, miss in ((ref, pred, "tp", "fn"), (pred, ref, None, "fp")):
        for lesion in flood(mask):
            kind = hit if any(other[place] for place in lesion) else miss
            ml = len(lesion) * voxel_ml
            if kind:
                counts[kind, "small" if ml < 1 else "medium" if ml <= 10 else "large"] += 1
    found = volume_metrics(pred, ref, Grid.even(5, spacing))
    assert {(kind, size): found[f"lesions_{kind}_{size}"] for kind, size in counts} == counts
    for kind in ("tp", "fn", "fp"):
        total = sum(count for (name, _), count in counts.items() if name == kind)
        assert found[f"lesions_{kind}"] == total > 0


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", CASES)
def test_volumes_agree_with_nibabel(rng, name, spacing):
    pred, ref = pairs(rng)[name]
    affine = np.diag([*spacing, 1.0])
    ml = [mask_volume(nib.Nifti1Image(mask.astype(np.uint8), affine)) / 1000 for mask in (pred, ref)]
    found = volume_metrics(pred, ref, Grid.even(len(pred), spacing))
    assert [found["pred_ml"], found["ref_ml"]] == pytest.approx(ml)
    assert (found["error_ml"], found["abs_error_ml"]) == pytest.approx((ml[0] - ml[1], abs(ml[0] - ml[1])))


def flood(mask):
    left = {tuple(int(index) for index in place) for place in np.argwhere(mask)}
    while left:
        lesion, queue = set(), [left.pop()]
        while queue:
            place = queue.pop()
            lesion.add(place)
            for step in itertools.product((-1, 0, 1), repeat=3):
                near = tuple(a + b for a, b in zip(place, step, strict=True))
                if near in left:
                    left.remove(near)
                    queue.append(near)
        yield lesion


def test_released_per_slice_dice_counts_empty_slices_as_one(rng):
    pred, ref = rng.random((6, 8, 8)) < 0.3, rng.random((6, 8, 8)) < 0.3
    pred[:2] = ref[:2] = False
    plain = []
    for one, other in zip(pred, ref, strict=True):
        plain.append((2 * (one * other).sum() + 1) / (one.sum() + other.sum() + 1))
    assert plain[:2] == [1, 1]
    assert dice_per_slice(pred, ref) == pytest.approx(np.mean(plain))


def test_false_positives_on_negative_slices_are_measured_apart(rng):
    pred, ref = rng.random((5, 6, 6)) < 0.4, rng.random((5, 6, 6)) < 0.4
    ref[[1, 4]] = False
    found = volume_metrics(pred, ref, Grid.even(5, (3.0, 2.0, 0.5)))
    assert found["negative_slices"] == 2
    assert found["negative_slices_fp"] == pred[1].sum() + pred[4].sum()
    assert found["negative_slices_fp_ml"] == pytest.approx((pred[1].sum() + pred[4].sum()) * 3.0 / 1000)
    whole = volume_metrics(pred, np.zeros_like(ref), Grid.even(5, (3.0, 2.0, 0.5)))
    assert whole["negative_slices_fp_ml"] == pytest.approx(whole["pred_ml"])


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="cannot be compared"):
        volume_metrics(np.zeros((2, 3, 3), bool), np.zeros((2, 3, 4), bool), Grid.even(2, (1, 1, 1)))
