from __future__ import annotations

import math

import pytest
import torch

from ctseg.segmentation import losses

LOGITS = torch.tensor(
    [[[[0.0, math.log(3.0)]]], [[[-math.log(3.0), math.log(4.0)]]]]
)  # probabilities 1/2, 3/4, 1/4, 4/5
MASKS = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])


def test_bce_is_equation_20_as_a_mean_over_pixels_and_slices() -> None:
    by_hand = -(math.log(1 / 2) + math.log(1 - 3 / 4) + math.log(1 - 1 / 4) + math.log(4 / 5)) / 4
    assert float(losses.segmentation_bce(LOGITS, MASKS)) == pytest.approx(by_hand, rel=1e-6)


def test_bce_does_not_depend_on_image_or_batch_size() -> None:
    larger = losses.segmentation_bce(LOGITS.repeat(3, 1, 5, 7), MASKS.repeat(3, 1, 5, 7))
    assert float(larger) == pytest.approx(float(losses.segmentation_bce(LOGITS, MASKS)), rel=1e-6)


def test_soft_dice_pools_the_batch() -> None:
    overlap, total = 1 / 2 + 4 / 5, (1 / 2 + 3 / 4 + 1 / 4 + 4 / 5) + 2
    by_hand = 1 - (2 * overlap + 1) / (total + 1)
    assert float(losses.soft_dice_loss(LOGITS, MASKS)) == pytest.approx(by_hand, rel=1e-6)


def test_soft_dice_without_any_lesion_is_finite_and_pushes_probabilities_down() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = losses.soft_dice_loss(logits, torch.zeros_like(MASKS))
    loss.backward()
    assert loss.item() == pytest.approx(1 - 1 / (1 + 2.3), rel=1e-6)
    assert (logits.grad > 0).all()


def test_segmentation_loss_forms() -> None:
    bce, dice = losses.segmentation_bce(LOGITS, MASKS), losses.soft_dice_loss(LOGITS, MASKS)
    assert losses.segmentation_loss(LOGITS, MASKS, "bce") == bce
    assert losses.segmentation_loss(LOGITS, MASKS, "bce+dice") == bce + dice


SOURCE = torch.tensor([[[[math.log(3.0)]]]])  # D says 3/4 source
TARGET = torch.tensor([[[[-math.log(4.0)]]]])  # D says 1/5 source


@pytest.mark.parametrize(
    ("form", "by_hand"),
    [
        ("log", -math.log(3 / 4) - math.log(1 - 1 / 5)),
        ("lsq", (math.log(3) - 1) ** 2 + math.log(4) ** 2),
    ],
)
def test_discriminator_loss_is_equation_21(form: losses.GanForm, by_hand: float) -> None:
    assert float(losses.discriminator_loss(SOURCE, TARGET, form)) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize(("form", "by_hand"), [("log", -math.log(1 / 5)), ("lsq", (math.log(4) + 1) ** 2)])
def test_adversarial_loss_is_equation_22(form: losses.GanForm, by_hand: float) -> None:
    assert float(losses.adversarial_loss(TARGET, form)) == pytest.approx(by_hand, rel=1e-6)


def test_domain_losses_are_means_over_positions() -> None:
    many = losses.adversarial_loss(TARGET.repeat(2, 1, 3, 4), "log")
    assert float(many) == pytest.approx(float(losses.adversarial_loss(TARGET, "log")), rel=1e-6)


def test_losses_of_half_precision_logits_are_computed_in_single() -> None:
    assert losses.segmentation_bce(LOGITS.bfloat16(), MASKS).dtype == torch.float32
    assert losses.discriminator_loss(SOURCE.bfloat16(), TARGET.bfloat16(), "log").dtype == torch.float32


def test_slice_dice_is_the_mean_over_the_slices_with_a_lesion() -> None:
    """Two of four slices show one; the empty ones, whatever is found there, are not counted."""
    masks = torch.zeros(4, 1, 4, 4)
    masks[0, 0, :2], masks[2, 0, 0, 0] = 1, 1
    logits = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = losses.slice_dice_loss(logits, masks).item()
    by_hand = []
    for place in (0, 2):
        probability, truth = logits[place].sigmoid(), masks[place]
        dice = (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
        by_hand.append(1 - dice.item())
    assert found == pytest.approx(sum(by_hand) / 2)
    assert losses.slice_dice_loss(logits, torch.zeros_like(masks)).item() == 0


def test_the_form_with_both_dice_losses_adds_both() -> None:
    draw = torch.Generator().manual_seed(2)
    logits, masks = torch.randn(3, 1, 8, 8, generator=draw), (torch.rand(3, 1, 8, 8, generator=draw) > 0.7).float()
    parts = losses.segmentation_bce, losses.soft_dice_loss, losses.slice_dice_loss
    by_hand = [part(logits, masks).item() for part in parts]
    assert min(by_hand) > 0.1
    for count, form in enumerate(("bce", "bce+dice", "bce+dice+slice-dice"), 1):
        assert losses.segmentation_loss(logits, masks, form).item() == pytest.approx(sum(by_hand[:count]))
