from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ctseg.networks.blocks import count_parameters, pad_to_multiple
from ctseg.networks.generator import AmdGenerator
from ctseg.plugins.protocols import has_features


def images(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def small(skip: bool = True) -> AmdGenerator:
    return AmdGenerator(width=4, growth=3, layers=2, skip=skip)


def test_released_parameter_counts() -> None:
    with torch.device("meta"):
        generator = AmdGenerator(width=64, growth=12, layers=5, skip=False)
    for domain in ("mr", "ct"):
        assert count_parameters(generator.encoders[domain]) == 372_224
        assert count_parameters(generator.decoders[domain]) == 371_969
    assert count_parameters(generator.fusion) == 879_580
    assert count_parameters(generator) == 2 * (372_224 + 371_969) + 879_580


def test_the_papers_decoder_is_wider_by_the_encoder_output() -> None:
    with torch.device("meta"):
        generator = AmdGenerator(width=64, skip=True)
    assert count_parameters(generator.decoders["ct"]) == 371_969 + 256 * 128 * 9


@pytest.mark.parametrize("skip", [True, False], ids=["paper", "released"])
@pytest.mark.parametrize("size", [(32, 32), (37, 53), (8, 9), (5, 70)])
def test_any_size_keeps_shape_and_range(size: tuple[int, int], skip: bool) -> None:
    generator, given = small(skip), images(*size)
    for made in (generator.to_target(given), generator.to_source(given)):
        assert made.shape == given.shape
        assert made.abs().max() <= 1
    features = generator.features(given, "mr")
    assert features.shape == (2, generator.feature_channels, -(-size[0] // 4), -(-size[1] // 4))


def test_an_odd_size_is_padded_and_cropped_and_nothing_else() -> None:
    generator, given = small(), images(37, 53)
    whole = generator.to_target(pad_to_multiple(given, 4))
    assert torch.equal(generator.to_target(given), whole[..., :37, :53])


def test_translate_gives_what_its_parts_give() -> None:
    generator, given = small(), images(16, 20)
    made, features = generator.translate(given, "ct")
    assert torch.equal(made, generator.to_source(given))
    assert torch.equal(features, generator.features(given, "ct"))
    assert has_features(generator)


@pytest.mark.parametrize("skip", [True, False])
def test_gradients_reach_every_parameter(skip: bool) -> None:
    generator, given = small(skip), images(16, 16)
    (generator.to_target(given).square().sum() + generator.to_source(given).square().sum()).backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        # A bias before an instance norm is subtracted again, so only weights must move.
        assert name.endswith("bias") or parameter.grad.abs().sum() > 0, name


def changed(generator: AmdGenerator, module: nn.Module) -> dict[str, bool]:
    """Which outputs change when the weights of `module` do."""
    given = images(16, 16)
    outputs = {
        "to_target": lambda: generator.to_target(given),
        "to_source": lambda: generator.to_source(given),
        "features mr": lambda: generator.features(given, "mr"),
        "features ct": lambda: generator.features(given, "ct"),
    }
    with torch.no_grad():
        before = {name: output() for name, output in outputs.items()}
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        return {name: not torch.equal(before[name], output()) for name, output in outputs.items()}


def test_fusion_is_shared() -> None:
    generator = small()
    assert all(changed(generator, generator.fusion).values())
    assert {id(p) for p in generator.shared_parameters()} == {id(p) for p in generator.fusion.parameters()}


def test_encoders_and_decoders_are_not_shared() -> None:
    generator = small()
    assert changed(generator, generator.encoders["mr"]) == {
        "to_target": True, "to_source": False, "features mr": True, "features ct": False,
    }  # fmt: skip
    generator = small()
    assert changed(generator, generator.decoders["mr"]) == {
        "to_target": False, "to_source": True, "features mr": False, "features ct": False,
    }  # fmt: skip


@pytest.mark.parametrize("skip", [True, False], ids=["paper", "released"])
def test_only_the_papers_decoder_sees_the_encoder(skip: bool) -> None:
    generator = small(skip)
    generator.fusion.register_forward_hook(lambda module, given, made: torch.zeros_like(made))
    first, second = images(16, 16), images(16, 16).flip(-1)
    assert torch.equal(generator.to_target(first), generator.to_target(second)) is not skip


def test_dense_layers_see_all_earlier_ones() -> None:
    generator = AmdGenerator(width=4, growth=3, layers=4)
    assert [layer[0].in_channels for layer in generator.fusion.dense] == [16, 19, 22, 25]
    assert generator.fusion.join[0].in_channels == 28


def test_repeatable_in_eval_and_independent_of_the_batch() -> None:
    generator, given = small().eval(), images(16, 16)
    with torch.no_grad():
        made = generator.to_target(given)
        assert torch.equal(made, generator.to_target(given))
        torch.testing.assert_close(made[1:], generator.to_target(given[1:]), rtol=1e-4, atol=1e-5)


def test_channels_last_gives_the_same() -> None:
    generator, given = small().eval(), images(16, 16)
    with torch.no_grad():
        made = generator.to_target(given)
        generator.to(memory_format=torch.channels_last)
        again = generator.to_target(given.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(made, again, rtol=1e-4, atol=1e-5)
