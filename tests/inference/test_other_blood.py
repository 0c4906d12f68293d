"""Blood outside the brain's tissue: slices and neighbours, the mask in the scan's own geometry, what wins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from segment_helpers import (
    BLOOD,
    IVH,
    SDH,
    Head,
    NonAirIsBrain,
    Stack,
    blind,
    bright_models,
    kinds_model,
)  # fmt: skip

from ctseg.inference.kind_slices import CLASSES, KINDS, NEIGHBOURS, beside
from ctseg.inference.models import ModelGroup, all_models, with_other_blood
from ctseg.inference.other_blood import SURE, kind_shares, measured, sure_pieces
from ctseg.inference.predict import Prediction, predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.inference.slice_set import check_size
from ctseg.io.stack import Grid
from ctseg.networks.unet import KindsUNet


def predicted(groups: list[ModelGroup], stack: Stack, **settings: object) -> Prediction:
    volume = stack.volume(Head().hu(stack.points()))
    return predict_volume(volume, groups, SegmentSettings(**settings), NonAirIsBrain())


@pytest.mark.parametrize(
    ("z_mm", "wanted"),
    [
        ([0.0], [[0, 0, 0]]),
        ([0, 5, 10], [[0, 0, 1], [0, 1, 2], [1, 2, 2]]),
        ([0, 10, 20], [[0, 0, 1], [0, 1, 2], [1, 2, 2]]),
        (list(range(8)), [[0, 0, 5], [0, 1, 6], [0, 2, 7], [0, 3, 7], [0, 4, 7], [0, 5, 7], [1, 6, 7], [2, 7, 7]]),
        ([-3, 0.5, 7.4, 8.0], [[0, 0, 1], [0, 1, 2], [1, 2, 3], [1, 3, 3]]),
    ],
)
def test_neighbours_lie_five_mm_away_or_next(z_mm: list[float], wanted: list[list[int]]) -> None:
    assert beside(np.array(z_mm, float)).tolist() == wanted


def test_the_network_gets_each_slice_between_its_neighbours() -> None:
    model = kinds_model()
    images = np.zeros((4, 64, 64), np.uint8)
    images[1:] = np.array([60, 120, 180])[:, None, None]
    shares = kind_shares(images, np.arange(4) * 5.0, model, SegmentSettings(batch_size=2))
    given = torch.cat(model.module.given)[..., 0, 0]  # slice 0 has no brain and is not run
    assert ((given + 1) * 127.5).round().int().tolist() == [[0, 60, 120], [60, 120, 180], [120, 180, 180]]
    assert shares.shape == (4, len(KINDS), 64, 64)
    assert not shares[0].any()


def test_kinds_lie_on_the_scans_own_grid_with_their_volumes(tilted: Stack) -> None:
    found = predicted(with_other_blood(blind(), kinds_model()), tilted).other_blood
    assert found is not None
    truth = Head().inside_blood(tilted.points())
    blood = found.kinds > 0
    assert 2 * (blood & truth).sum() / (blood.sum() + truth.sum()) > 0.95
    assert set(np.unique(found.kinds)) <= {0, IVH, SDH}
    assert found.total_ml == pytest.approx(Head().blood_ml, rel=0.1)
    assert found.ml["sah"] == found.ml["edh"] == 0
    weights = Grid.of(tilted.volume(np.zeros(truth.shape))).volume_ml
    assert found.ml["sdh"] == pytest.approx(weights(found.kinds == SDH))


def test_where_the_models_see_iph_it_is_iph_and_nothing_of_it_changes(tilted: Stack) -> None:
    alone = predicted(bright_models(), tilted)
    both = predicted(with_other_blood(bright_models(), kinds_model()), tilted)
    assert alone.other_blood is None
    np.testing.assert_array_equal(both.mask, alone.mask)
    np.testing.assert_array_equal(both.probability, alone.probability)
    assert both.measures == alone.measures
    assert both.mask.any()
    assert both.other_blood is not None
    assert not (both.other_blood.kinds[both.mask] > 0).any()


def test_a_network_with_other_slices_is_prepared_by_itself(tilted: Stack) -> None:
    fine = predicted(with_other_blood(blind(), kinds_model()), tilted, other_threshold=0.5).other_blood
    groups = with_other_blood(blind(), kinds_model(48, 96.0))
    assert [len(group.models) for group in groups] == [1, 0]
    assert [bool(group.other_blood) for group in with_other_blood(blind(), kinds_model())] == [True]
    assert len(all_models(groups)) == 2
    coarse = predicted(groups, tilted, other_threshold=0.5).other_blood
    assert fine is not None
    assert coarse is not None
    assert coarse.total_ml == pytest.approx(fine.total_ml, rel=0.1)


def test_the_brain_is_that_of_the_models() -> None:
    [group] = bright_models()
    named = replace(group, preprocessing=group.preprocessing.model_copy(update={"brain_extractor": "brain-network"}))
    [joined] = with_other_blood([named], kinds_model())
    assert joined.other_blood is not None


def test_small_pieces_and_unlikely_voxels_are_left_out(tilted: Stack) -> None:
    groups = with_other_blood(blind(), kinds_model())
    whole = predicted(groups, tilted).other_blood
    none = predicted(groups, tilted, min_other_ml=2 * Head().blood_ml).other_blood
    unsure = predicted(groups, tilted, other_threshold=0.03).other_blood
    assert whole is not None
    assert none is not None
    assert unsure is not None
    assert none.total_ml == 0
    assert not none.kinds.any()
    assert unsure.total_ml > whole.total_ml


def test_pieces_that_hold_bone_or_are_unlikely_are_left_out() -> None:
    grid = Grid.even(3, (5.0, 2.0, 2.0))
    share = np.zeros((3, 40, 80), np.float32)
    share[:, 5:15, 5:15], share[:, 5:15, 25:35] = SURE, SURE - 0.1
    share[:, 25:35, 5:15], share[:, 25:35, 25:35] = 0.95, 0.95
    bone = np.zeros(share.shape, bool)
    bone[1, 25:35, 25:28] = True  # a tenth
    bone[1, 5, 5:10] = True  # a sixtieth
    kept = sure_pieces(share > 0.2, share, bone, grid, 0.5)
    np.testing.assert_array_equal(kept, (share == SURE) | ((share > 0.9) & (np.arange(80) < 20)))
    assert not sure_pieces(share > 0.2, share, bone, grid, 9.0).any()


def test_volumes_heed_uneven_slices() -> None:
    volume = Stack(np.array([0.0, 2.0, 10.0, 12.0]), size=10, pixel_mm=10.0, tilt_deg=0.0)
    grid = Grid.of(volume.volume(np.full((4, 10, 10), BLOOD)))
    kinds = np.zeros((4, 10, 10), np.uint8)
    kinds[1, 0, 0], kinds[0, 1, 1] = 2, 4
    ml = measured(kinds, grid).ml
    assert ml == pytest.approx({"ivh": 0, "sah": 0.5, "sdh": 0, "edh": 0.2})


def test_slice_sets_of_another_size_are_refused_by_the_options_name() -> None:
    class Slices:
        folder, size, domain = "set", (64, 64), "ct"

    with pytest.raises(Exception, match="set: --other-blood wants slices of 48 x 48; segment the scans themselves"):
        check_size(Slices(), with_other_blood(blind(), kinds_model(48)))  # type: ignore[arg-type]


@pytest.mark.parametrize("stem", [1, 2])
def test_the_kinds_network_takes_any_size_and_gives_all_classes(stem: int) -> None:
    network = KindsUNet(CLASSES, 8, 2, NEIGHBOURS, stem).eval()
    found = network(torch.zeros(2, NEIGHBOURS, 30, 46))
    assert found.logits.shape == (2, CLASSES, 30, 46)
    assert found.hidden.shape == (2, 8 // stem**2, 30, 46)
