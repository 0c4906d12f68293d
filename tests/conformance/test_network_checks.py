"""Each planted fault of a segmenter or generator is found by the check that is there for it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ctseg.conformance import Outcome
from ctseg.errors import PluginError
from ctseg.plugins.protocols import SegmenterOutput

pytestmark = pytest.mark.slow

Run = Callable[..., Outcome]


class Segmenter(nn.Module):
    """A sound one."""

    hidden_channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 3, 3, padding=1)
        self.classifier = nn.Conv2d(3, 1, 1)

    def forward(self, images: Any) -> SegmenterOutput:
        hidden = torch.tanh(self.body(images))
        return SegmenterOutput(self.classifier(hidden), hidden)


class IsNoModule:
    hidden_channels = 3


class KeepsMultiplesOfFour(Segmenter):
    def forward(self, images: Any) -> Any:
        height, width = (side // 4 * 4 for side in images.shape[-2:])
        return super().forward(images[..., :height, :width])


class PromisesOtherChannels(Segmenter):
    hidden_channels = 4


class FailsOnABatchOfOne(Segmenter):
    def forward(self, images: Any) -> Any:
        found = super().forward(images)
        return SegmenterOutput(found.logits.squeeze(0), found.hidden)


class IsInDoublePrecision(Segmenter):
    def forward(self, images: Any) -> Any:
        found = super().forward(images)
        return SegmenterOutput(found.logits.double(), found.hidden)


class HasAnUnusedLayer(Segmenter):
    def __init__(self) -> None:
        super().__init__()
        self.forgotten = nn.Conv2d(3, 3, 1)


class HasALayerTimesZero(HasAnUnusedLayer):
    def forward(self, images: Any) -> Any:
        found = super().forward(images)
        return SegmenterOutput(found.logits + 0 * self.forgotten(found.hidden).sum(), found.hidden)


class DetachesHidden(Segmenter):
    def forward(self, images: Any) -> Any:
        found = super().forward(images)
        return SegmenterOutput(found.logits, found.hidden.detach())


class DrawsWeightsFromAnotherGenerator(Segmenter):
    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.classifier.weight, random.Random().random())


class DropsOutInEval(Segmenter):
    def forward(self, images: Any) -> Any:
        return super().forward(nn.functional.dropout(images, 0.5, training=True))


class CountsInEval(Segmenter):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images: Any) -> Any:
        self.passes += 1
        return super().forward(images)


class NormalisesOverTheBatch(Segmenter):
    def forward(self, images: Any) -> Any:
        return super().forward(images - images.mean())


class GoesThroughNumpy(Segmenter):
    def forward(self, images: Any) -> Any:
        found = super().forward(images)
        torch.from_numpy(found.hidden.detach().cpu().numpy())
        return found


class KeepsSomethingOutOfItsState(Segmenter):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(3), persistent=False)

    def forward(self, images: Any) -> Any:
        found = super().forward(images)
        return SegmenterOutput(found.logits + self.projection.sum(), found.hidden)


class DrawsNoiseFromAnotherGenerator(Segmenter):
    def forward(self, images: Any) -> Any:
        return super().forward(images * random.Random().random() if self.training else images)


class HasNoGradient(Segmenter):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


class Generator(nn.Module):
    """A sound one with features."""

    feature_channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({domain: nn.Conv2d(1, 3, 3, padding=1) for domain in ("mr", "ct")})
        self.shared = nn.Conv2d(3, 3, 1)
        self.decoders = nn.ModuleDict({domain: nn.Conv2d(3, 1, 1) for domain in ("mr", "ct")})

    def features(self, images: Any, domain: str) -> Any:
        return self.shared(torch.tanh(self.encoders[domain](images)))

    def shared_parameters(self) -> Any:
        return self.shared.parameters()

    def to_target(self, images: Any) -> Any:
        return torch.tanh(self.decoders["ct"](self.features(images, "mr")))

    def to_source(self, images: Any) -> Any:
        return torch.tanh(self.decoders["mr"](self.features(images, "ct")))


class LosesARow(Generator):
    def to_source(self, images: Any) -> Any:
        return super().to_source(images)[..., :-1, :]


class IsOneWayWithoutObjective(Generator):
    def to_source(self, images: Any) -> Any:
        raise PluginError("one way only")


class LeavesTheRange(Generator):
    def to_target(self, images: Any) -> Any:
        return self.decoders["ct"](self.features(images, "mr"))


class ForgetsADecoder(Generator):
    def to_source(self, images: Any) -> Any:
        return torch.tanh(self.decoders["ct"](self.features(images, "ct")))


class PromisesOtherFeatures(Generator):
    feature_channels = 5


class SharesNothing(Generator):
    def shared_parameters(self) -> Any:
        return [nn.Parameter(torch.zeros(3))]


class TranslatesDifferently(Generator):
    def translate(self, images: Any, domain: str) -> Any:
        return self.to_target(images), self.features(images, domain)


class FeaturesWithoutChannels(Generator):
    feature_channels = property()  # type: ignore[assignment]


class Objective:
    """A sound one, with momentum that a resume needs."""

    def __init__(self, generator: Any, trained: Any = None) -> None:
        self.generator = generator
        self.optimiser = torch.optim.Adam(trained or generator.parameters(), 1e-3)

    def loss(self, batch: Any) -> Any:
        return (self.generator.to_target(batch.source) - batch.target).abs().mean()

    def step(self, batch: Any) -> Any:
        self.optimiser.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        self.optimiser.step()
        return {"l1": loss.detach()}

    def set_lr_factor(self, factor: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = 1e-3 * factor

    def state_dict(self) -> Any:
        return {"optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: Any) -> None:
        self.optimiser.load_state_dict(state["optimiser"])


class OneWay(nn.Module):
    """A sound one-sided generator with an objective of its own."""

    objective_class: type = Objective

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 1, 1), nn.Tanh())

    def to_target(self, images: Any) -> Any:
        return self.layers(images)

    def to_source(self, images: Any) -> Any:
        raise PluginError("one way only")

    def objective(self, context: Any) -> Any:
        return self.objective_class(self)


def with_objective(objective: Callable[..., Any]) -> type:
    return type("OneWay", (OneWay,), {"objective_class": staticmethod(objective)})


class LeavesTheGraph(Objective):
    def step(self, batch: Any) -> Any:
        super().step(batch)
        return {"l1": self.loss(batch)}


class ObeysNoRate(Objective):
    def set_lr_factor(self, factor: float) -> None:
        pass


class KeepsObjectsInItsState(Objective):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "random": random.Random(0)}


class ForgetsItsOptimiser(Objective):
    def state_dict(self) -> Any:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


def trains_the_first_layer_only(generator: Any) -> Objective:
    return Objective(generator, list(generator.layers[0].parameters()))


SEGMENTERS = [
    (IsNoModule, "builds", "AttributeError"),
    (KeepsMultiplesOfFour, "segments_any_size", r"logits of \(1, 1, 37, 53\) images are \(1, 1, 36, 52\)"),
    (PromisesOtherChannels, "segments_any_size", r"hidden is \(2, 3, 64, 64\), expected \(2, 4, h, w\)"),
    (FailsOnABatchOfOne, "segments_any_size", r"logits of \(1, 1, 37, 53\) images are \(1, 37, 53\)"),
    (IsInDoublePrecision, "segments_any_size", "logits is torch.float64"),
    (HasAnUnusedLayer, "gradients_reach_every_parameter", "no gradient reaches forgotten.weight"),
    (HasALayerTimesZero, "gradients_reach_every_parameter", "the gradient of forgotten.weight is zero everywhere"),
    (DetachesHidden, "adversary_reaches_the_network", "hidden is detached"),
    (DrawsWeightsFromAnotherGenerator, "first_weights_follow_the_seed", "classifier.weight differs"),
    (DropsOutInEval, "eval_is_deterministic", "logits differs between two passes"),
    (CountsInEval, "eval_is_deterministic", "changes passes"),
    (NormalisesOverTheBatch, "slices_of_a_batch_are_independent", "changes with the other slices"),
    (GoesThroughNumpy, "works_in_bfloat16", "BFloat16"),
    (KeepsSomethingOutOfItsState, "comes_back_from_its_file", "logits differs after saving"),
    (HasNoGradient, "trains_two_steps", "does not require grad|weight"),
    (DrawsNoiseFromAnotherGenerator, "resumes_exactly", "differs after resuming"),
]
GENERATORS = [
    (LosesARow, "translates_any_size", r"to_source turns \(2, 1, 64, 64\) into \(2, 1, 63, 64\)"),
    (IsOneWayWithoutObjective, "translates_any_size", "no objective of its own"),
    (LeavesTheRange, "stays_in_range", r"to_target leaves \[-1, 1\].*tanh"),
    (ForgetsADecoder, "gradients_reach_every_parameter", "no gradient reaches decoders.mr.weight"),
    (PromisesOtherFeatures, "features_serve_the_feature_loss", r"features are \(2, 3, 37, 53\), not 5"),
    (SharesNothing, "features_serve_the_feature_loss", "the generator's own parameters"),
    (TranslatesDifferently, "features_serve_the_feature_loss", r"translate\(images, 'ct'\)"),
    (FeaturesWithoutChannels, "features_serve_the_feature_loss", "no feature_channels"),
    (with_objective(trains_the_first_layer_only), "gradients_reach_every_parameter", "do not move layers.2.weight"),
    (with_objective(LeavesTheGraph), "objective_keeps_its_promises", "detached scalar"),
    (with_objective(ObeysNoRate), "objective_keeps_its_promises", r"after set_lr_factor\(0\)"),
    (with_objective(KeepsObjectsInItsState), "objective_keeps_its_promises", "UnpicklingError"),
    (with_objective(ForgetsItsOptimiser), "resumes_exactly", "differs after resuming"),
]
ALL = [("segmenter", *fault) for fault in SEGMENTERS] + [("generator", *fault) for fault in GENERATORS]


@pytest.mark.parametrize(
    ("kind", "factory", "check", "message"), ALL, ids=[f"{fault[1].__name__}-{fault[2]}" for fault in ALL]
)
def test_the_fault_is_found(find_fault: Run, kind: str, factory: type, check: str, message: str) -> None:
    outcome = find_fault(kind, check, factory)
    assert outcome.status == "failed"
    assert re.search(message, outcome.detail), outcome.detail


SOUND = {(kind, check) for kind, _, check, _ in ALL}


@pytest.mark.parametrize(("kind", "check"), sorted(SOUND))
def test_sound_networks_pass(find_fault: Run, kind: str, check: str) -> None:
    for factory in (Segmenter,) if kind == "segmenter" else (Generator, OneWay):
        outcome = find_fault(kind, check, factory)
        assert outcome.status != "failed", outcome.detail


def test_optional_parts_are_skipped_where_there_are_none(find_fault: Run) -> None:
    assert find_fault("generator", "features_serve_the_feature_loss", OneWay).status == "skipped"
    assert find_fault("generator", "objective_keeps_its_promises", Generator).status == "skipped"
    assert find_fault("generator", "objective_keeps_its_promises", OneWay).status == "passed"
