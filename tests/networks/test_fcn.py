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
    whole = segmenter(pad_to_multiple(given, 16))
    assert torch.equal(segmenter(given).logits, whole.logits[..., :37, :53])
    assert torch.equal(segmenter(given).hidden, whole.hidden[..., :37, :53])


def test_240_is_not_padded() -> None:
    segmenter = FcnVgg16(width=4).eval()
    sizes = []
    segmenter.stages[0][0].register_forward_hook(lambda _, __, maps: sizes.append(maps.shape[-2:]))
    segmenter(images(240, 240, 1))
    assert sizes == [(240, 240)]


def test_the_classifier_reads_the_hidden_map() -> None:
    segmenter = FcnVgg16(width=4).eval()
    output = segmenter(images(32, 32))
    torch.testing.assert_close(segmenter.classifier(output.hidden), output.logits)


@pytest.mark.parametrize("size", [(64, 32), (48, 80), (240, 240)])
@pytest.mark.parametrize("training", [True, False])
def test_against_the_released_order_written_out(size: tuple[int, int], training: bool) -> None:
    """Convolutions, poolings, then BN(ReLU(deconv)) with the skip added after it; sizes as at 240: 15 to 7 to 15."""
    segmenter, given = FcnVgg16(width=4, input_mean=0.074, input_std=0.148).train(training), images(*size)
    for norm in segmenter.norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
    convs = [part for part in segmenter.stages.modules() if isinstance(part, nn.Conv2d)]
    maps, pools = ((given + 1) / 2 - 0.074) / 0.148, []
    for place, conv in enumerate(convs, start=1):
        maps = functional.relu(functional.conv2d(maps, conv.weight, conv.bias, padding=1))
        if place in (2, 4, 7, 10, 13):
            maps = functional.max_pool2d(maps, 2)
            pools.append(maps)
    for level in range(5):
        up, norm = segmenter.ups[level], segmenter.norms[level]
        extra = pools[3].shape[-2] % 2, pools[3].shape[-1] % 2
        maps = functional.conv_transpose2d(
            maps, up.weight, up.bias, stride=2, padding=1, output_padding=extra if level == 0 else 1
        )
        maps = functional.relu(maps)
        centre = maps.mean((0, 2, 3), keepdim=True) if training else torch.zeros(1, maps.shape[1], 1, 1)
        spread = maps.var((0, 2, 3), keepdim=True, correction=0) if training else torch.ones(1, maps.shape[1], 1, 1)
        maps = (maps - centre) / (spread + norm.eps).sqrt()
        maps = maps * norm.weight[:, None, None] + norm.bias[:, None, None]
        if level < 4:
            maps = maps + pools[3 - level]
    torch.testing.assert_close(segmenter(given).hidden, maps, rtol=1e-3, atol=1e-4)


def test_plain_normalisation_leaves_images_as_they_are() -> None:
    given = images(4, 4)
    assert FcnVgg16(width=4).normalised(given) is given
    shifted = FcnVgg16(width=4, input_mean=0.074, input_std=0.148).normalised(given)
    torch.testing.assert_close(shifted, ((given + 1) / 2 - 0.074) / 0.148)


@pytest.mark.slow
def test_initialisation_of_the_released_stages() -> None:
    vgg, normal = FcnVgg16(width=64), FcnVgg16(width=64, initialisation="normal")
    conv = vgg.stages[4][0].weight  # 512 to 512 channels
    assert conv.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)
    assert normal.stages[4][0].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert normal.ups[1].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert normal.norms[0].weight.std().item() == pytest.approx(0.02, rel=0.2)


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


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.5), (0.074, 0.148)])
def test_vgg_weights_see_the_grey_picture_as_imagenet_would(mean: float, std: float) -> None:
    segmenter = FcnVgg16(width=4, input_mean=mean, input_std=std)
    state = vgg_state(segmenter)
    load_vgg16(segmenter, state)
    given = images(12, 12)
    rgb = ((given + 1) / 2).expand(-1, 3, -1, -1)
    normalised = (rgb - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    expected = functional.conv2d(normalised, state["features.0.weight"], state["features.0.bias"])
    first = segmenter.stages[0][0]
    seen = functional.conv2d(segmenter.normalised(given), first.weight, first.bias)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)
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
