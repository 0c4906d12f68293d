"""ValidationOutputs from a network whose answer is known: it segments every pixel brighter than grey 150."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctseg.io.slices import SliceSet
from ctseg.networks.modes import evaluating
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.selection import rules as selection
from ctseg.selection.validation import Validation, ValidationSlices, gather, sample_features

GREY = 150


class Threshold(nn.Module):
    hidden_channels = 2

    def __init__(self) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(1000.0))

    def forward(self, images: Tensor) -> SegmenterOutput:
        logits = self.steepness * (images - (GREY / 127.5 - 1))
        return SegmenterOutput(logits, torch.cat([images, -images], dim=1))


def right_half_is_source(output: SegmenterOutput) -> Tensor:
    """Takes every position of the right half for the source domain."""
    taken = torch.zeros_like(output.hidden[:, :1], dtype=torch.bool)
    taken[..., taken.shape[-1] // 2 :] = True
    return taken


def validate(source: SliceSet, target: SliceSet, slices: ValidationSlices, epoch: int = 0, **rest: Any):
    validation = Validation(slices, target.images, source.images, source.masks, **rest)
    return gather(Threshold(), validation, epoch)


@pytest.fixture
def both(make_set: Callable[..., SliceSet]) -> tuple[SliceSet, SliceSet]:
    return make_set("mr", 40, 24, 1), make_set("ct", 70, 24, 2, labelled=False)


def test_predictions_are_of_the_slices_asked_for(both: tuple[SliceSet, SliceSet]) -> None:
    source, target = both
    chosen = ValidationSlices(np.array([3, 33, 64, 69]), np.array([38, 39]), seed=0)
    outputs = validate(source, target, chosen, epoch=4)
    assert np.array_equal(outputs.target >= 0.5, target.images[chosen.target_rows] >= GREY)
    assert np.array_equal(outputs.source >= 0.5, source.images[chosen.source_rows] >= GREY)
    assert np.array_equal(outputs.source_masks, source.masks[chosen.source_rows])
    assert np.array_equal(outputs.target_brain, target.images[chosen.target_rows] > 0)
    assert outputs.epoch == 4
    assert outputs.discriminator_accuracy is None


def test_a_perfect_source_and_many_batches(both: tuple[SliceSet, SliceSet]) -> None:
    source, target = both
    chosen = ValidationSlices(np.arange(70), np.arange(40), seed=0)
    outputs = validate(source, target, chosen)
    assert selection.source_dice(outputs) == 1.0
    assert outputs.target.shape == (70, 24, 24)


def test_augmented_copies_are_mirrored_back(both: tuple[SliceSet, SliceSet]) -> None:
    """At a spot far brighter than the threshold and a brain far darker, another brightness changes nothing."""
    source, target = both
    images = np.where(target.images > 130, 230, np.where(target.images > 0, 60, 0)).astype(np.uint8)
    target = SliceSet(target.folder, images, None, target.table, target.info)
    outputs = validate(source, target, ValidationSlices(np.arange(40), np.arange(0), seed=0))
    assert np.array_equal(outputs.target_augmented >= 0.5, outputs.target >= 0.5)
    assert not np.array_equal(outputs.target, outputs.target[:, :, ::-1])
    assert selection.tta_consistency(outputs) == 1.0
    assert outputs.source is None


def test_the_discriminators_accuracy_is_of_both_domains(both: tuple[SliceSet, SliceSet]) -> None:
    outputs = validate(
        *both, ValidationSlices(np.arange(40), np.arange(8), seed=0), takes_for_source=right_half_is_source
    )
    assert outputs.discriminator_accuracy == pytest.approx(0.5)


def test_features_are_of_lesion_and_of_as_many_other_brain_pixels(rng: np.random.Generator) -> None:
    probabilities = np.zeros((2, 8, 8), np.float32)
    probabilities[0, 2, 2:5] = 1
    probabilities[0, 0, 0] = 1  # outside the brain
    brain = np.ones((2, 8, 8), bool)
    brain[0, 0] = False
    hidden = torch.zeros(2, 3, 8, 8)
    hidden[0, 0] = torch.from_numpy(probabilities[0])
    hidden[:, 1] = torch.from_numpy(brain).float()
    features = sample_features(probabilities, hidden, brain, rng)
    assert features.shape == (6, 3)
    assert features[:, 0].tolist() == [1, 1, 1, 0, 0, 0]
    assert (features[:, 1] == 1).all()


def test_features_of_a_coarser_hidden_map(rng: np.random.Generator) -> None:
    probabilities = np.zeros((1, 8, 8), np.float32)
    probabilities[0, 6, 7] = 1
    hidden = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert sample_features(probabilities, hidden, np.ones((1, 8, 8), bool), rng)[0, 0] == 15


def test_no_foreground_gives_no_features(rng: np.random.Generator) -> None:
    nothing = sample_features(np.zeros((1, 8, 8), np.float32), torch.zeros(1, 3, 8, 8), np.ones((1, 8, 8), bool), rng)
    assert nothing.shape == (0, 3)


def test_evaluating_puts_the_mode_back() -> None:
    module = Threshold().train()
    with evaluating(module):
        assert not module.training
    assert module.training
