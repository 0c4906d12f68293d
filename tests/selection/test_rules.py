from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ctseg.errors import SettingError
from ctseg.selection import rules as selection
from ctseg.selection.rules import CheckpointSelection, ValidationOutputs
from ctseg.training.presets import ADAPTATION, DEFAULT, preset


def outputs(target: np.ndarray, **rest: object) -> ValidationOutputs:
    """ValidationOutputs on (n, H, W) probabilities, everything brain unless told."""
    target = np.asarray(target, np.float32)
    given = {
        "epoch": 0,
        "target_augmented": target,
        "target_brain": np.ones(target.shape, bool),
        "features": np.zeros((0, 2), np.float32),
        **rest,
    }
    return ValidationOutputs(target=target, **given)


SOME = np.array([[[0.9, 0.1], [0.5, 0.2]]])
NO_FOREGROUND = np.full((1, 2, 2), 0.01)


def test_source_dice_pools_pixels() -> None:
    source = np.array([[[0.9, 0.8], [0.1, 0.1]], [[0.6, 0.1], [0.1, 0.1]]], np.float32)
    masks = np.array([[[1, 0], [0, 0]], [[1, 1], [0, 0]]], np.uint8)
    given = outputs(SOME, source=source, source_masks=masks)
    assert selection.source_dice(given) == pytest.approx(2 * 2 / (3 + 3))
    assert selection.source_dice(outputs(SOME)) is None


def test_entropy_is_in_bits_over_the_brain_only() -> None:
    brain = np.array([[[True, True], [True, False]]])
    by_hand = [-(p * math.log2(p) + (1 - p) * math.log2(1 - p)) for p in (0.9, 0.1, 0.5)]
    assert selection.mean_entropy(outputs(SOME, target_brain=brain)) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_entropy_of_certain_predictions_is_finite() -> None:
    assert selection.mean_entropy(outputs(np.array([[[1.0, 0.0]]]))) == pytest.approx(0.0, abs=1e-9)


def test_tta_consistency_compares_masks_within_the_brain() -> None:
    augmented = np.array([[[0.9, 0.7], [0.1, 0.9]]], np.float32)
    brain = np.array([[[True, True], [True, False]]])
    given = outputs(SOME, target_augmented=augmented, target_brain=brain)
    assert selection.tta_consistency(given) == pytest.approx(2 * 1 / (2 + 2))
    assert selection.tta_consistency(outputs(SOME)) == 1.0


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.1])
def test_confusion_is_the_distance_from_chance(accuracy: float) -> None:
    assert selection.domain_confusion(outputs(SOME, discriminator_accuracy=accuracy)) == pytest.approx(
        abs(accuracy - 0.5)
    )


def test_density_equals_a_plain_computation(rng: np.random.Generator) -> None:
    features = rng.normal(size=(70, 5))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    entropies = []
    for i in range(70):
        weights = np.array([math.exp(unit[i] @ unit[j] / 0.05) for j in range(70) if j != i])
        shares = weights / weights.sum()
        entropies.append(-(shares * np.log(shares)).sum())
    density = selection.neighbourhood_density(outputs(SOME, features=features.astype(np.float32)))
    assert density == pytest.approx(np.mean(entropies) / math.log(69), rel=1e-4)


def test_density_prefers_two_clusters_to_a_cloud(rng: np.random.Generator) -> None:
    cloud = rng.normal(size=(200, 8))
    centres = np.repeat(np.eye(8)[:2], 100, axis=0)
    clusters = centres + 0.05 * rng.normal(size=centres.shape)
    dense, loose = (selection.neighbourhood_density(outputs(SOME, features=x)) for x in (clusters, cloud))
    assert dense > loose + 0.1


def test_density_needs_lesion_pixels() -> None:
    assert selection.neighbourhood_density(outputs(SOME, features=np.ones((63, 2), np.float32))) is None


def test_a_network_without_foreground_has_no_target_score() -> None:
    scores = selection.score_all(outputs(NO_FOREGROUND, discriminator_accuracy=0.5))
    assert {name: scores[name] for name in ("entropy", "snd", "domain_confusion", "tta_consistency")} == dict.fromkeys(
        ("entropy", "snd", "domain_confusion", "tta_consistency")
    )
    assert selection.lesion_share(outputs(NO_FOREGROUND)) == 0.0
    assert selection.lesion_share(outputs(SOME)) == 0.5


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))


def selected(rule: str, scores: list[float | None]) -> CheckpointSelection:
    """The selection after epochs with these scores; the weights hold the epoch."""
    selection_, module = CheckpointSelection(rule), Weight()
    for epoch, score in enumerate(scores):
        module.value.data.fill_(epoch)
        selection_.update(epoch, {**dict.fromkeys(selection.RULES), rule: score}, module)
    return selection_


@pytest.mark.parametrize(
    ("rule", "scores", "best"),
    [
        ("last", [0.0, 1.0, 2.0], 2),
        ("source_val", [0.2, 0.7, 0.7, 0.1], 1),
        ("entropy", [0.5, 0.2, 0.3], 1),
        ("domain_confusion", [0.4, 0.4, 0.1], 2),
        ("tta_consistency", [None, 0.1, None, 0.05], 1),
        ("entropy", [None, None, None], 2),
    ],
)
def test_choice_follows_the_rules_direction(rule: str, scores: list[float | None], best: int) -> None:
    choice = selected(rule, scores)
    assert choice.epoch == best
    assert choice.weights["value"].item() == best
    assert choice.summary()["selected_epoch"] == best + 1
    assert choice.summary()["selection"] == rule


def test_choice_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    choice, back = selected("source_val", [0.3, 0.6]), CheckpointSelection("source_val")
    torch.save(choice.state_dict(), tmp_path / "c.pt")
    back.load_state_dict(torch.load(tmp_path / "c.pt", weights_only=True))
    assert back.summary() == choice.summary()
    assert not back.update(2, {**back.scores, "source_val": 0.5}, Weight())
    assert back.weights["value"].item() == 1


def test_a_rule_that_cannot_be_used_is_refused_with_the_way_out() -> None:
    with pytest.raises(SettingError, match=r"unknown selection 'oracle'.*known: domain_confusion"):
        selection.check_rule("oracle", has_discriminator=True, has_source_validation=True)
    with pytest.raises(SettingError, match="lambda_adv is 0"):
        selection.check_rule("domain_confusion", has_discriminator=False, has_source_validation=True)
    with pytest.raises(SettingError, match="validation split"):
        selection.check_rule("source_val", has_discriminator=True, has_source_validation=False)
    rule = selection.check_rule("snd", has_discriminator=True, has_source_validation=False)
    assert rule is selection.RULES["snd"]


def test_no_rule_is_an_oracle() -> None:
    """ValidationOutputs has no place for a CT mask."""
    assert not [name for name in ValidationOutputs.__dataclass_fields__ if name.startswith("target") and "mask" in name]


COPIES_WITH_FOREGROUND = np.full((1, 2, 2), 0.9)
"""Of a target on which the network segments nothing."""


def test_a_network_without_foreground_scores_nothing_in_the_default_rule_whatever_its_copies_hold() -> None:
    """0.0 would beat the none of another epoch, and be no better founded."""
    given = outputs(NO_FOREGROUND, target_augmented=COPIES_WITH_FOREGROUND.astype(np.float32))
    rule = preset(ADAPTATION, DEFAULT)["selection"]
    assert selection.RULES[rule].score(given) is None


def source_of(probability: float) -> dict[str, np.ndarray]:
    masks = np.array([[[1, 0], [0, 0]]], np.uint8)
    return {"source": np.full((1, 2, 2), probability, np.float32), "source_masks": masks}


@pytest.mark.parametrize("first", ["with", "without"])
@pytest.mark.parametrize("rule", [name for name in selection.RULES if name != "last"])
def test_a_network_without_foreground_never_wins(rule: str, first: str) -> None:
    """Against one that is as bad as the rule can measure; `last` takes the last epoch, whatever it does."""
    spread = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    bad = outputs(
        np.full((1, 2, 2), 0.5), target_augmented=np.zeros((1, 2, 2), np.float32), features=spread,
        discriminator_accuracy=1.0, source=np.array([[[0.1, 0.9], [0.9, 0.9]]], np.float32),
        source_masks=source_of(0)["source_masks"],
    )  # fmt: skip
    none = outputs(
        NO_FOREGROUND, target_augmented=COPIES_WITH_FOREGROUND.astype(np.float32), discriminator_accuracy=0.5,
        **source_of(0.01),
    )  # fmt: skip
    chosen, order = CheckpointSelection(rule), (bad, none) if first == "with" else (none, bad)
    for epoch, given in enumerate(order):
        chosen.update(epoch, selection.score_all(given), Weight())
    assert order[chosen.epoch] is bad
