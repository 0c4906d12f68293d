"""Rules that choose the checkpoint without any CT label; see docs/selection.md.

Each rule turns `ValidationOutputs`, gathered after an epoch, into one number. No rule, and nothing else in this
package, takes a CT mask: a choice by Dice on labelled CT would not be unsupervised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import SettingError, unknown_name
from ctseg.metrics.overlap import defined, dice_of

if TYPE_CHECKING:
    from torch import nn

Scores = dict[str, float | None]
THRESHOLD = 0.5
TEMPERATURE = 0.05
"""Of the neighbourhood density, as in Saito et al. 2021."""
LEAST_PIXELS = 32
"""Fewer lesion pixels than this on all target slices together are no neighbourhood."""


@dataclass(frozen=True)
class ValidationOutputs:
    """What one epoch's network says of fixed validation slices."""

    epoch: int
    """Counted from 0."""
    target: NDArray[np.float32]
    """(n, H, W) lesion probability on unlabelled CT slices of the training split."""
    target_augmented: NDArray[np.float32]
    """(n, H, W) the same slices predicted mirrored and with another brightness, mirrored back."""
    target_brain: NDArray[np.bool_]
    """(n, H, W) where the slices are not background."""
    features: NDArray[np.float32]
    """(m, C) hidden vectors at predicted lesion pixels and as many other brain pixels of the same slices."""
    source: NDArray[np.float32] | None = None
    """(k, H, W) lesion probability on labelled slices of the source's validation split, None where it has none."""
    source_masks: NDArray[np.uint8] | None = None
    """(k, H, W) their 0/1 masks."""
    discriminator_accuracy: float | None = None
    """Of D_seg over hidden positions, mean of both domains; None without D_seg or a source split."""


@dataclass(frozen=True)
class Rule:
    """How an epoch is scored."""

    score: Callable[[ValidationOutputs], float | None]
    """None where the outputs allow no score, which is worse than any score."""
    higher_is_better: bool
    summary: str
    needs_source: bool = False
    """Needs a labelled validation split of the source."""
    needs_discriminator: bool = False


def pooled_dice(prediction: NDArray[np.bool_], reference: NDArray[Any]) -> float | None:
    """2 TP / (2 TP + FP + FN) over all pixels together (equation 24); None where both are empty."""
    return defined(dice_of(prediction, reference))


def lesion_share(outputs: ValidationOutputs) -> float:
    """Share of the target's brain that is segmented: 0 is a network without foreground."""
    brain = np.count_nonzero(outputs.target_brain)
    return float(np.count_nonzero(_segmented(outputs)) / brain) if brain else 0.0


def _segmented(outputs: ValidationOutputs) -> NDArray[np.bool_]:
    return (outputs.target >= THRESHOLD) & outputs.target_brain


def source_dice(outputs: ValidationOutputs) -> float | None:
    """Pooled Dice on the labelled source's validation split; None where nothing is segmented there."""
    if outputs.source is None or outputs.source_masks is None:
        return None
    segmented = outputs.source >= THRESHOLD
    return pooled_dice(segmented, outputs.source_masks) if segmented.any() else None


def mean_entropy(outputs: ValidationOutputs) -> float | None:
    """Mean entropy of the prediction over the target's brain, in bits; None where nothing is segmented.

    A network without foreground is certain everywhere; without that exception it would always win.
    """
    if not _segmented(outputs).any():
        return None
    p = outputs.target[outputs.target_brain].astype(np.float64).clip(1e-12, 1 - 1e-12)
    return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).mean())


def neighbourhood_density(outputs: ValidationOutputs) -> float | None:
    """Soft neighbourhood density (Saito et al. 2021) of the hidden vectors, as a share of its maximum log(m - 1).

    Each vector's cosine similarities to the others, softmax at temperature 0.05, entropy, mean: high where each point
    has many equally near neighbours, that is where classes form dense clusters. None with too few lesion pixels.
    """
    vectors = outputs.features.astype(np.float64)
    if len(vectors) < 2 * LEAST_PIXELS:
        return None
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    similar = vectors @ vectors.T / TEMPERATURE  # (m, m)
    np.fill_diagonal(similar, -np.inf)
    similar -= similar.max(axis=1, keepdims=True)
    weights = np.exp(similar)
    total = weights.sum(axis=1)
    np.fill_diagonal(similar, 0.0)
    entropy = np.log(total) - (weights * similar).sum(axis=1) / total
    return float(entropy.mean() / math.log(len(vectors) - 1))


def domain_confusion(outputs: ValidationOutputs) -> float | None:
    """How far D_seg's accuracy is from chance, 0 to 0.5."""
    accuracy = outputs.discriminator_accuracy
    return None if accuracy is None or not _segmented(outputs).any() else abs(accuracy - 0.5)


def tta_consistency(outputs: ValidationOutputs) -> float | None:
    """Pooled Dice between the masks of target slices and of the same slices mirrored and brightened.

    None where nothing is segmented in the slices themselves, whatever is segmented in their copies.
    """
    augmented = (outputs.target_augmented >= THRESHOLD) & outputs.target_brain
    return pooled_dice(_segmented(outputs), augmented) if _segmented(outputs).any() else None


RULES: dict[str, Rule] = {
    "last": Rule(lambda outputs: float(outputs.epoch), True, "the last epoch"),
    "source_val": Rule(source_dice, True, "pooled Dice on the source's validation split", needs_source=True),
    "entropy": Rule(mean_entropy, False, "mean prediction entropy on target brain"),
    "snd": Rule(neighbourhood_density, True, "soft neighbourhood density on target pixels"),
    "domain_confusion": Rule(
        domain_confusion, False, "distance of D_seg's accuracy from chance", needs_source=True, needs_discriminator=True
    ),
    "tta_consistency": Rule(
        tta_consistency, True, "Dice between predictions of a target slice and of its augmented copy"
    ),
}
LOGGED = tuple(name for name in RULES if name != "last")


def score_all(outputs: ValidationOutputs) -> Scores:
    """Every rule's score, by name."""
    return {name: rule.score(outputs) for name, rule in RULES.items()}


def check_rule(name: str, *, has_discriminator: bool, has_source_validation: bool, where: str = "das-train") -> Rule:
    """The rule of this name, where a run can serve it.

    Raises:
        SettingError: if it is unknown, or needs a validation split or a discriminator that this run does not have.
    """
    if name not in RULES:
        raise SettingError(f"{where}: {unknown_name('selection', name, sorted(RULES))}")
    rule = RULES[name]
    if rule.needs_discriminator and not has_discriminator:
        raise SettingError(f"{where}: selection={name} needs a discriminator, but lambda_adv is 0; use selection=last")
    if rule.needs_source and not has_source_validation:
        raise SettingError(
            f"{where}: selection={name} needs a validation split of the source; preprocess it with one, or use "
            "selection=last"
        )
    return rule


def is_better(rule: Rule, new: float | None, old: float | None) -> bool:
    """Whether a score beats the best one so far; no score loses to any, and a newer none replaces an older none."""
    if new is None or old is None:
        return old is None
    return new > old if rule.higher_is_better else new < old


def select_epoch(name: str, scores: Sequence[float | None]) -> int:
    """Which of these epochs (counted from 0) the rule would have kept."""
    kept = 0
    for epoch, score in enumerate(scores):
        kept = epoch if epoch == 0 or is_better(RULES[name], score, scores[kept]) else kept
    return kept


class CheckpointSelection:
    """Keeps the weights of the best epoch so far; of equal scores, the earlier epoch."""

    def __init__(self, name: str) -> None:
        self.name, self.rule = name, RULES[name]
        self.epoch: int | None = None
        """Counted from 0."""
        self.scores: Scores = {}
        self.weights: dict[str, Any] = {}

    def update(self, epoch: int, scores: Mapping[str, float | None], network: nn.Module) -> bool:
        """Take this epoch if it is better; returns whether it is. Until an epoch has a score, the newest is taken."""
        if self.epoch is not None and not is_better(self.rule, scores[self.name], self.scores[self.name]):
            return False
        self.epoch, self.scores = epoch, dict(scores)
        self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}
        return True

    def summary(self) -> dict[str, Any]:
        """What results and model headers say of the selection; epochs counted from 1."""
        selected = 0 if self.epoch is None else self.epoch + 1
        return {
            "selection": self.name,
            "selected_epoch": selected,
            "scores": {name: self.scores.get(name) for name in LOGGED},
        }

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"epoch": self.epoch, "scores": self.scores, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.epoch, self.scores, self.weights = state["epoch"], dict(state["scores"]), dict(state["weights"])
