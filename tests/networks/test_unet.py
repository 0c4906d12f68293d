from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ctseg.networks.blocks import count_parameters, pad_to_multiple
from ctseg.networks.unet import UNet


def images(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def double_conv_count(channels_in: int, channels_out: int) -> int:
    return 9 * channels_in * channels_out + 9 * channels_out**2 + 4 * channels_out


def test_parameter_count_from_the_papers_figure() -> None:
    with torch.device("meta"):
        segmenter = UNet(width=64, depth=4)
    widths = [64, 128, 256, 512, 1024]
    down = sum(map(double_conv_count, [1, *widths], widths))
    up = sum(2 * w * w * 4 + w + double_conv_count(2 * w, w) for w in widths[:-1])
    assert count_parameters(segmenter) == down + up + 64 + 1 == 31_036_481


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (37, 53), (9, 40)])
def test_any_size(size: tuple[int, int], depth: int) -> None:
    segmenter = UNet(width=4, depth=depth)
    output = segmenter(images(*size))
    assert output.logits.shape == (2, 1, *size)
    assert output.hidden.shape == (2, segmenter.hidden_channels, *size)


def test_an_odd_size_is_padded_and_cropped_and_nothing_else() -> None:
    segmenter, given = UNet(width=4, depth=3).eval(), images(37, 53)
    whole = segmenter(pad_to_multiple(given, 8))
    assert torch.equal(segmenter(given).logits, whole.logits[..., :37, :53])
    torch.testing.assert_close(segmenter.classifier(whole.hidden), whole.logits)


def test_gradients_reach_every_parameter() -> None:
    segmenter = UNet(width=4, depth=2)
    segmenter(images(32, 32)).logits.square().sum().backward()
    for name, parameter in segmenter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_skips_carry_detail_that_the_bottom_cannot() -> None:
    segmenter = UNet(width=4, depth=2).eval()
    segmenter.downs[-1].register_forward_hook(lambda module, given, made: torch.zeros_like(made))
    assert not torch.equal(segmenter(images(16, 16)).logits, segmenter(images(16, 16).flip(-1)).logits)


def test_a_stem_of_two_works_at_half_the_size_and_loses_no_pixel() -> None:
    segmenter, seen = UNet(width=8, depth=2, stem=2), []
    segmenter.downs[0].register_forward_hook(lambda module, given, made: seen.append((given[0].shape, made.shape)))
    output = segmenter(images(37, 53))
    assert seen == [((2, 4, 20, 28), (2, 8, 20, 28))]
    assert output.logits.shape == (2, 1, 37, 53)
    assert output.hidden.shape == (2, segmenter.hidden_channels, 37, 53) == (2, 2, 37, 53)
    given = images(16, 16).requires_grad_()
    segmenter(given).logits[0, 0, 5, 9].backward()
    assert (given.grad[0, 0, 4:8, 8:12] != 0).all()
