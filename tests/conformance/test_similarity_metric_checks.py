"""Each planted fault of a similarity metric is found by the check that is there for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ctseg.conformance import Outcome

Run = Callable[..., Outcome]


class Sound:
    """Mean grey value of a slice, and its lesion area."""

    symmetric = True

    def describe(self, images: Any, masks: Any) -> dict[str, Any]:
        lesions = masks > 0 if masks is not None else images > 120
        return {"mean": images.mean(axis=(1, 2)), "lesion": lesions.mean(axis=(1, 2))}

    def distance(self, source: Any, target: Any) -> Any:
        return sum(np.abs(source[name][:, None] - target[name][None]) for name in ("mean", "lesion"))

    def nearest(self, source: Any, target: Any, k: int) -> Any:
        distances = self.distance(source, target)
        indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return indices.astype(np.int64), np.take_along_axis(distances, indices, axis=1)

    def parts(self, source: Any, target: Any) -> Any:
        return {"mean_difference": np.abs(source["mean"][:, None] - target["mean"][None])}


class NeedsMasks(Sound):
    def describe(self, images: Any, masks: Any) -> Any:
        return {"mean": (images * masks).mean(axis=(1, 2)), "lesion": masks.mean(axis=(1, 2))}


class DropsASlice(Sound):
    def describe(self, images: Any, masks: Any) -> Any:
        return {name: values[:-1] for name, values in super().describe(images, masks).items()}


class WritesIntoTheImages(Sound):
    def describe(self, images: Any, masks: Any) -> Any:
        images[images < 10] = 0
        return super().describe(images, masks)


class StandardisesOverTheCohort(Sound):
    def describe(self, images: Any, masks: Any) -> Any:
        found = super().describe(images, masks)
        return {**found, "mean": found["mean"] - found["mean"].mean()}


class ComparesWithTheFirst(Sound):
    whole_set = True

    def describe(self, images: Any, masks: Any) -> Any:
        found = super().describe(images, masks)
        return {**found, "mean": found["mean"] - found["mean"][0]}


class DrawsRandomPixels(Sound):
    def __init__(self) -> None:
        self.weights = np.random.default_rng().random(100_000)  # not one pixel: two draws may both hit background

    def describe(self, images: Any, masks: Any) -> Any:
        found, pixels = super().describe(images, masks), images.reshape(len(images), -1).astype(float)
        return {**found, "mean": pixels @ self.weights[: pixels.shape[1]]}


class IsNegative(Sound):
    def distance(self, source: Any, target: Any) -> Any:
        return super().distance(source, target) - 5.0


class IsNotANumber(Sound):
    def distance(self, source: Any, target: Any) -> Any:
        return super().distance(source, target) * np.nan


class IsFloat32(Sound):
    def distance(self, source: Any, target: Any) -> Any:
        return super().distance(source, target).astype(np.float32)


class NormalisesTheBlock(Sound):
    def distance(self, source: Any, target: Any) -> Any:
        found = super().distance(source, target)
        return found / found.max()


class IsASimilarity(Sound):
    def distance(self, source: Any, target: Any) -> Any:
        return 1 / (1 + super().distance(source, target))


class IsLopsided(Sound):
    def distance(self, source: Any, target: Any) -> Any:
        difference = source["mean"][:, None] - target["mean"][None]
        return np.where(difference > 0, difference, -2 * difference)


class BreaksTiesBackwards(Sound):
    def nearest(self, source: Any, target: Any, k: int) -> Any:
        count = len(target["mean"])
        distances = self.distance(source, target)
        indices = count - 1 - np.argsort(distances[:, ::-1], axis=1, kind="stable")[:, :k]
        return indices.astype(np.int64), np.take_along_axis(distances, indices, axis=1)


class SearchesRoughly(Sound):
    def nearest(self, source: Any, target: Any, k: int) -> Any:
        indices = np.argsort(np.abs(source["lesion"][:, None] - target["lesion"][None]), kind="stable")[:, :k]
        return indices.astype(np.int64), np.take_along_axis(self.distance(source, target), indices, axis=1)


class ReportsSquaredDistances(Sound):
    def nearest(self, source: Any, target: Any, k: int) -> Any:
        indices, distances = super().nearest(source, target, k)
        return indices, distances**2


class HasFlatParts(Sound):
    def parts(self, source: Any, target: Any) -> Any:
        return {name: values.ravel() for name, values in super().parts(source, target).items()}


class TakesOverAColumn(Sound):
    def parts(self, source: Any, target: Any) -> Any:
        return {"rank": super().parts(source, target)["mean_difference"]}


class SaysSymmetricButNeedsTheLabelledSideFirst(Sound):
    nearest = None  # type: ignore[assignment]

    def describe(self, images: Any, masks: Any) -> Any:
        found = super().describe(images, masks)
        return found if masks is None else {**found, "labelled": found["lesion"]}

    def distance(self, source: Any, target: Any) -> Any:
        if "labelled" in target and "labelled" not in source:
            raise KeyError("labelled")
        return super().distance(source, target)


FAULTS = [
    (NeedsMasks, "describes_slices", "NoneType"),
    (DropsASlice, "describes_slices", "descriptor 'mean' has length 5 for 6 slices"),
    (WritesIntoTheImages, "describes_slices", "read-only"),
    (StandardisesOverTheCohort, "describes_each_slice_by_itself", "slice 0 alone is described differently"),
    (ComparesWithTheFirst, "describes_slices_in_any_order", "in another order"),
    (DrawsRandomPixels, "describing_is_repeatable", "described differently twice"),
    (IsNegative, "distances_are_finite_and_not_negative", "negative"),
    (IsNotANumber, "distances_are_finite_and_not_negative", "not finite"),
    (IsFloat32, "distances_are_finite_and_not_negative", "float32, expected float64"),
    (NormalisesTheBlock, "distances_do_not_depend_on_the_block", "differ from those of the whole"),
    (IsASimilarity, "is_nearest_to_itself", "smaller must be more similar"),
    (IsLopsided, "is_symmetric", "set symmetric = False"),
    (BreaksTiesBackwards, "nearest_is_exact", "ties in another order"),
    (SearchesRoughly, "nearest_is_exact", "other slices"),
    (ReportsSquaredDistances, "nearest_is_exact", "other distances"),
    (HasFlatParts, "parts_fit_the_distance", r"shape \(12,\), expected \(2, 6\)"),
    (TakesOverAColumn, "parts_fit_the_distance", "column of pairs.csv"),
    (SaysSymmetricButNeedsTheLabelledSideFirst, "matches_slice_sets", "KeyError"),
]
CHECKS = sorted({check for _, check, _ in FAULTS})


@pytest.mark.parametrize(("factory", "check", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_fault_is_found(find_fault: Run, factory: type, check: str, message: str) -> None:
    outcome = find_fault("similarity_metric", check, factory)
    assert outcome.status == "failed"
    assert re.search(message, outcome.detail), outcome.detail


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_metric_passes(find_fault: Run, check: str) -> None:
    assert find_fault("similarity_metric", check, Sound).status == "passed"


def test_what_a_metric_does_not_have_is_skipped(find_fault: Run) -> None:
    class Plain:
        symmetric = False
        describe, distance = Sound.describe, IsLopsided.distance

    class Ranks(StandardisesOverTheCohort):
        whole_set = True

    assert find_fault("similarity_metric", "describes_each_slice_by_itself", Ranks).status == "skipped"
    for check in ("is_symmetric", "nearest_is_exact", "parts_fit_the_distance"):
        assert find_fault("similarity_metric", check, Plain).status == "skipped"
