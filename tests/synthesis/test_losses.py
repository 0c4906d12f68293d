"""Every loss against numbers worked out by hand: sigmoid(0) = 1/2, sigmoid(log 3) = 3/4."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from ctseg.synthesis import losses

HALF, THREE_QUARTERS = 0.0, log(3.0)


def maps(*values: float) -> Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_adversarial_log_is_minus_log_d() -> None:
    loss = losses.adversarial(maps(HALF, THREE_QUARTERS), "log")
    assert loss.item() == pytest.approx((log(2) + log(4 / 3)) / 2)


def test_adversarial_lsq_is_squared_distance_from_1() -> None:
    assert losses.adversarial(maps(1.0, -1.0, 0.5), "lsq").item() == pytest.approx((0 + 4 + 0.25) / 3)


def test_discriminator_log_is_equation_3() -> None:
    loss = losses.discriminator(maps(THREE_QUARTERS), maps(THREE_QUARTERS, HALF), "log")
    assert loss.item() == pytest.approx(-log(3 / 4) - (log(1 / 4) + log(1 / 2)) / 2)


def test_discriminator_lsq() -> None:
    assert losses.discriminator(maps(0.0, 1.0), maps(0.5), "lsq").item() == pytest.approx(0.5 + 0.25)


def test_cycle_is_the_mean_absolute_difference() -> None:
    assert losses.cycle(maps(0.5, -1.0), maps(0.0, 1.0)).item() == pytest.approx((0.5 + 2) / 2)


def test_identity_is_zero_for_what_is_left_alone() -> None:
    assert losses.identity(maps(0.3, -0.4), maps(0.3, -0.4)).item() == 0
    assert losses.identity(maps(0.3), maps(-0.1)).item() == pytest.approx(0.4)


def test_lesion_is_cross_entropy_with_the_mask() -> None:
    loss = losses.lesion(maps(THREE_QUARTERS, THREE_QUARTERS, HALF), maps(1.0, 0.0, 1.0))
    assert loss.item() == pytest.approx((log(4 / 3) + log(4) + log(2)) / 3)


def test_feature_losses_call_the_source_1_and_the_target_0() -> None:
    source, target = maps(THREE_QUARTERS), maps(HALF)
    assert losses.feature_adaptation(target, "log").item() == pytest.approx(log(2))
    assert losses.feature_discriminator(source, target, "log").item() == pytest.approx(log(4 / 3) + log(2))
    assert losses.feature_adaptation(maps(0.25), "lsq").item() == pytest.approx(0.75**2)
    assert losses.feature_discriminator(maps(0.75), maps(0.25), "lsq").item() == pytest.approx(2 * 0.25**2)


def test_the_size_of_the_map_does_not_weigh() -> None:
    small, large = torch.zeros(1, 1, 2, 2), torch.zeros(3, 1, 8, 8)
    assert losses.feature_adaptation(small, "log").item() == pytest.approx(
        losses.feature_adaptation(large, "log").item()
    )


@pytest.mark.parametrize("logit", [-300.0, 300.0])
def test_far_logits_stay_finite(logit: float) -> None:
    logits = maps(logit).bfloat16()
    assert losses.discriminator(logits, logits, "log").item() == pytest.approx(300, rel=0.01)
    assert losses.lesion(logits, maps(1.0)).dtype == torch.float32


def test_weighted_sum_takes_the_named_terms_only() -> None:
    terms = {"cycle": torch.tensor(2.0), "gan_ct": torch.tensor(3.0), "features": torch.tensor(100.0)}
    assert losses.weighted_sum(terms, {"cycle": 5.0, "gan_ct": 1.0}).item() == 13.0


def test_equation_2_as_printed_and_its_other_forms() -> None:
    logits = torch.tensor([-2.0, 0.0, 3.0])
    d = torch.sigmoid(logits)
    torch.testing.assert_close(losses.adversarial(logits, "minimax"), torch.log(1 - d).mean())
    torch.testing.assert_close(losses.adversarial(logits, "log"), -torch.log(d).mean())
    torch.testing.assert_close(losses.adversarial(logits, "lsq"), (logits - 1).square().mean())
    by_hand = -torch.log(d).mean() - torch.log(1 - d).mean()
    for form in ("minimax", "log"):
        torch.testing.assert_close(losses.discriminator(logits, logits, form), by_hand)


def test_the_printed_form_saturates_where_the_discriminator_wins() -> None:
    logits = torch.tensor([-8.0], requires_grad=True)
    slopes = [
        torch.autograd.grad(losses.adversarial(logits, form), logits)[0].abs().item() for form in ("minimax", "log")
    ]
    assert slopes[0] < 1e-3 < 0.99 < slopes[1]
