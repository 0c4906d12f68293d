"""CUT passes ctseg's conformance kit, and its loss is the paper's."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from ctseg_cut.generator import CutGenerator
from ctseg_cut.losses import Heads, draw_places, patch_nce
from ctseg_cut.objective import CutObjective
from torch.nn import functional

from ctseg.conformance import BoundCheck, checks
from ctseg.errors import PluginError
from ctseg.networks.blocks import count_parameters, seeded
from ctseg.plugins.host import load
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.training.settings import SynthesisSettings

SMALL = {"width": 4, "blocks": 2, "head_width": 8, "patches": 16}


@pytest.mark.slow
@pytest.mark.parametrize("check", checks("generator", "cut", settings=SMALL))
def test_conformance(check: BoundCheck) -> None:
    check()


def unit(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(drawn, dim=-1)


def make_objective(**changes: object) -> CutObjective:
    context = ObjectiveContext(SynthesisSettings(discriminator_width=4), torch.device("cpu"), nullcontext)
    with seeded(0):
        return CutGenerator(**{**SMALL, **changes}).objective(context)


def batch(seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    source, target = (torch.rand((2, 1, 24, 24), generator=random) * 2 - 1 for _ in range(2))
    return Batch(source, torch.zeros_like(source), target)


def test_patch_nce_is_the_equation_written_out() -> None:
    queries, keys, temperature = unit((2, 5, 3), 0), unit((2, 5, 3), 1), 0.3
    losses = []
    for query, key in zip(queries.tolist(), keys.tolist(), strict=True):
        for place, own in enumerate(query):
            alike = [math.exp(sum(a * b for a, b in zip(own, other, strict=True)) / temperature) for other in key]
            losses.append(-math.log(alike[place] / sum(alike)))
    expected = sum(losses) / len(losses)
    assert patch_nce(queries, keys, temperature).item() == pytest.approx(expected, rel=1e-5)


def test_patch_nce_is_small_for_the_own_patch_and_blind_to_other_slices() -> None:
    features = unit((2, 6, 8), 0)
    assert patch_nce(features, features, 0.07) < patch_nce(features.roll(1, dims=1), features, 0.07)
    alone = torch.stack([patch_nce(features[i : i + 1], features[i : i + 1], 0.07) for i in range(2)]).mean()
    torch.testing.assert_close(patch_nce(features, features, 0.07), alone)


def test_no_gradient_reaches_the_keys() -> None:
    queries, keys = unit((1, 4, 3), 0).requires_grad_(), unit((1, 4, 3), 1).requires_grad_()
    patch_nce(queries, keys, 0.07).backward()
    assert queries.grad is not None
    assert keys.grad is None


def test_taps_are_the_image_both_halvings_and_two_residual_blocks() -> None:
    generator = CutGenerator(width=4, blocks=9)
    images = batch().source
    found = generator.taps(images)
    assert generator.tapped == (1, 2, 3, 7)
    assert [tuple(item.shape[1:]) for item in found] == [(1, 24, 24), (8, 12, 12), *[(16, 6, 6)] * 3]
    assert tuple(item.shape[1] for item in found) == generator.tap_channels
    torch.testing.assert_close(found[2], generator.layers[:3](images))
    assert len(CutGenerator(width=4, blocks=1).tap_channels) == 4


def test_heads_pick_the_drawn_pixels() -> None:
    maps = [torch.arange(24.0).reshape(1, 2, 3, 4)]
    places = draw_places(maps, 5, torch.Generator().manual_seed(0))
    assert len(set(places[0].tolist())) == 5
    assert len(draw_places(maps, 100, torch.Generator().manual_seed(0))[0]) == 12
    heads = Heads([2], 6)
    found = heads(maps, places)[0]
    for row, place in enumerate(places[0].tolist()):
        vector = maps[0][0, :, place // 4, place % 4]
        torch.testing.assert_close(found[0, row], functional.normalize(heads.heads[0](vector), dim=0))


def test_each_step_moves_all_three_networks() -> None:
    objective = make_objective()
    networks = {"generator": objective.generator, **objective.modules()}
    before = {name: [item.detach().clone() for item in net.parameters()] for name, net in networks.items()}
    named = objective.step(batch())
    assert set(named) == {"generator", "gan_ct", "nce", "nce_identity", "d_ct"}
    for name, net in networks.items():
        pairs = zip(net.parameters(), before[name], strict=True)
        assert any(not torch.equal(new, old) for new, old in pairs), name
    mean = (named["nce"] + named["nce_identity"]) / 2
    torch.testing.assert_close(named["generator"], named["gan_ct"] + mean)


def test_without_identity_ct_is_not_translated() -> None:
    named = make_objective(identity=False, lambda_nce=10.0).step(batch())
    assert "nce_identity" not in named
    torch.testing.assert_close(named["generator"], named["gan_ct"] + 10 * named["nce"])


@pytest.mark.slow
def test_the_contrastive_loss_falls() -> None:
    objective = make_objective(identity=False, lambda_nce=10.0)
    objective.set_lr_factor(10.0)
    first, *_, last = [objective.step(batch())["nce"].item() for _ in range(25)]
    assert last < 0.9 * first


def test_there_is_no_way_back() -> None:
    with pytest.raises(PluginError, match="MR to CT only"):
        CutGenerator(**SMALL).to_source(batch().target)


def test_the_default_is_cyclegans_network() -> None:
    entry = load().get("generator", "cut")
    assert entry.package == "ctseg-cut"
    assert count_parameters(entry.build()) == 11_365_633
