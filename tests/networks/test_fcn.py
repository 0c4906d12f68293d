from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ctseg.networks.blocks import count_parameters, pad_to_multiple
from ctseg.networks.fcn import IMAGENET_MEAN, IMAGENET_STD, VGG16_KEYS, FcnVgg16, load_vgg16


def images(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_released_parameter_count() -> None:
    with torch.device("meta"):
        segmenter = FcnVgg16(width=64)
    assert count_parameters(segmenter) == 20_477_569
    assert count_parameters(segmenter.stages) == 14_714_688 - 2 * 64 * 9  # VGG-16's convolutions, one input channel
    assert segmenter.hidden_channels == 32


@pytest.mark.parametrize("size", [(32, 32), (37, 53), (64, 33), (1, 5)])
def test_any_size(size: tuple[int, int]) -> None:
    segmenter = FcnVgg16(width=4)
    output = segmenter(images(*size))
    assert output.logits.shape == (2, 1, *size)
    assert output.hidden.shape == (2, segmenter.hidden_channels, *size)


def test_an_odd_size_is_padded_and_cropped_and_nothing_else() -> None:
    segmenter, given = FcnVgg16(width=4).eval(), images(37, 53)
    whole = segmenter(pad_to_multiple(given, 32))
    assert torch.equal(segmenter(given).logits, whole.logits[..., :37, :53])
    assert torch.equal(segmenter(given).hidden, whole.hidden[..., :37, :53])


def test_the_classifier_reads_the_hidden_map() -> None:
    segmenter = FcnVgg16(width=4).eval()
    output = segmenter(images(32, 32))
    torch.testing.assert_close(segmenter.classifier(output.hidden), output.logits)


def test_against_the_layers_written_out() -> None:
    segmenter, given = FcnVgg16(width=4).eval(), images(64, 32)
    convs = [part for part in segmenter.stages.modules() if isinstance(part, nn.Conv2d)]
    maps, pools = given, []
    for place, conv in enumerate(convs, start=1):
        maps = functional.relu(functional.conv2d(maps, conv.weight, conv.bias, padding=1))
        if place in (2, 4, 7, 10, 13):
            maps = functional.max_pool2d(maps, 2)
            pools.append(maps)
    for level in range(5):
        up, norm = segmenter.ups[level], segmenter.norms[level]
        extra = 0 if level == 0 else 1
        maps = functional.relu(
            functional.conv_transpose2d(maps, up.weight, up.bias, stride=2, padding=1, output_padding=extra)
        )
        if level < 4:
            maps = maps + pools[3 - level]
        maps = maps / (1 + norm.eps) ** 0.5  # a fresh batch norm in eval mode
    torch.testing.assert_close(segmenter(given).hidden, maps, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    segmenter = FcnVgg16(width=8)
    output = segmenter(images(64, 64))
    output.logits.square().sum().backward()
    for name, parameter in segmenter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_repeatable_in_eval_and_independent_of_the_batch() -> None:
    segmenter, given = FcnVgg16(width=4).eval(), images(32, 32)
    with torch.no_grad():
        first = segmenter(given).logits
        assert torch.equal(first, segmenter(given).logits)
        torch.testing.assert_close(first[1:], segmenter(given[1:]).logits, rtol=1e-4, atol=1e-5)


def vgg_state(segmenter: FcnVgg16) -> dict[str, Tensor]:
    """A VGG-16 state dict as wide as the segmenter, three input channels, with the classifier's entries beside."""
    convs = [part for part in segmenter.stages.modules() if isinstance(part, nn.Conv2d)]
    generator = torch.Generator().manual_seed(3)
    state = {"classifier.0.weight": torch.zeros(2, 2)}
    for key, conv in zip(VGG16_KEYS, convs, strict=True):
        out, channels = conv.weight.shape[:2]
        state[f"{key}.weight"] = torch.randn(out, 3 if channels == 1 else channels, 3, 3, generator=generator)
        state[f"{key}.bias"] = torch.randn(out, generator=generator)
    return state


def test_vgg_weights_see_the_grey_picture_as_imagenet_would() -> None:
    segmenter = FcnVgg16(width=4)
    state = vgg_state(segmenter)
    load_vgg16(segmenter, state)
    given = images(12, 12)
    rgb = ((given + 1) / 2).expand(-1, 3, -1, -1)
    normalised = (rgb - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    expected = functional.conv2d(normalised, state["features.0.weight"], state["features.0.bias"])
    first = segmenter.stages[0][0]
    torch.testing.assert_close(functional.conv2d(given, first.weight, first.bias), expected, rtol=1e-4, atol=1e-4)
    last = [part for part in segmenter.stages.modules() if isinstance(part, nn.Conv2d)][-1]
    assert torch.equal(last.weight, state["features.28.weight"])
    assert torch.equal(last.bias, state["features.28.bias"])


@pytest.mark.parametrize(
    ("break_state", "message"),
    [
        (lambda state: state.pop("features.7.bias"), r"features\.7\.bias: missing"),
        (lambda state: state.update({"features.5.weight": torch.zeros(9, 4, 3, 3)}), r"features\.5: shape"),
        (lambda state: state.update({"features.5.bias": torch.zeros(9)}), r"features\.5: shape"),
        (lambda state: state.update({"features.0.weight": torch.zeros(4, 2, 3, 3)}), r"features\.0: shape"),
    ],
    ids=["missing", "weight", "bias", "channels"],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(break_state, message: str) -> None:
    segmenter = FcnVgg16(width=4)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    state = vgg_state(segmenter)
    break_state(state)
    with pytest.raises(ValueError, match=message):
        load_vgg16(segmenter, state)
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
