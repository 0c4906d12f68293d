"""`fda_features=after`: D_fusion sees what the released step shows it, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ctseg.errors import SettingError
from ctseg.networks.resnet_generator import ResnetGenerator
from ctseg.synthesis.objective import check_features
from ctseg.training.presets import SYNTHESIS
from ctseg.training.settings import SynthesisSettings

Make = Callable[..., Any]
LARGE = {"gan_features": "lsq", "lr_generator": 0.02}
"""A rate by which the fusion block before and after the update differ."""


def weights(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def least_squares(source: Tensor, target: Tensor) -> float:
    """Equation (7) in its released form."""
    return float(((source - 1) ** 2).mean() + (target**2).mean())


def test_encoders_before_the_update_and_the_fusion_block_after_it(make_objective: Make, make_batch: Make) -> None:
    objective, batch = make_objective(**LARGE, fda_features="after"), make_batch()
    generator, d_fusion = objective.generator, objective.modules()["d_fusion"]
    domains = (("mr", batch.source), ("ct", batch.target))
    with torch.no_grad():
        encoded = [generator.encoders[name](images) for name, images in domains]
        before = least_squares(*(d_fusion(generator.fusion(maps)) for maps in encoded))
    made, _ = objective.generator_step(batch)
    with torch.no_grad():
        released = least_squares(*(d_fusion(generator.fusion(maps)) for maps in encoded))
        after = least_squares(*(d_fusion(generator.features(images, name)) for name, images in domains))
    learnt = objective.feature_step(made)["d_fusion"].item()
    assert learnt == pytest.approx(released, rel=1e-5)
    assert abs(learnt - before) > 1e-3 * learnt
    assert abs(learnt - after) > 1e-3 * learnt


def test_it_moves_d_fusion_alone_and_the_generators_step_is_the_same(make_objective: Make, make_batch: Make) -> None:
    plain, objective = make_objective(**LARGE), make_objective(**LARGE, fda_features="after")
    batch = make_batch()
    one, other = plain.step(batch), objective.step(batch)
    assert same(weights(plain.generator), weights(objective.generator))
    assert one.keys() == other.keys()
    assert {name for name in one if not torch.equal(one[name], other[name])} == {"d_fusion"}
    for name, net in plain.modules().items():
        assert same(weights(net), weights(objective.modules()[name])) is (name != "d_fusion"), name
    made, _ = objective.generator_step(batch)
    kept = weights(objective.generator)
    objective.optimisers["generator"].zero_grad(set_to_none=True)
    objective.feature_step(made)
    assert same(kept, weights(objective.generator))
    assert all(parameter.grad is None for parameter in objective.generator.parameters())


def test_only_released_has_it() -> None:
    found = {name: SynthesisSettings(**values).fda_features for name, values in SYNTHESIS.items()}
    assert found == {**dict.fromkeys(SYNTHESIS, "before"), "released": "after"}


def test_a_generator_that_cannot_is_refused_with_the_way_out(make_settings: Make) -> None:
    generator = ResnetGenerator(width=4, blocks=1)
    generator.features, generator.feature_channels = generator.to_target, 1
    generator.shared_parameters = generator.parameters
    check_features(generator, make_settings())
    with pytest.raises(SettingError, match="--set fda_features=before$"):
        check_features(generator, make_settings(fda_features="after"))
    check_features(generator, make_settings(fda_features="after", lambda_fda=0.0))
