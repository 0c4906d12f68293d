from __future__ import annotations

import torch
from torch import Tensor

from ctseg.synthesis.pool import ImagePool


def numbered(number: int) -> Tensor:
    return torch.full((1, 1, 2, 2), float(number))


def outputs(pool: ImagePool, numbers: range) -> list[int]:
    return [int(pool.swap(numbered(number))[0, 0, 0, 0]) for number in numbers]


def test_size_0_gives_back_the_very_images() -> None:
    images = torch.rand(3, 1, 2, 2, requires_grad=True)
    swapped = ImagePool(0, seed=0).swap(images)
    assert torch.equal(swapped, images)
    assert not swapped.requires_grad


def test_it_fills_first_and_then_gives_earlier_images_half_of_the_time() -> None:
    given = outputs(ImagePool(4, seed=0), range(400))
    assert given[:4] == [0, 1, 2, 3]
    earlier = sum(out != number for number, out in enumerate(given))
    assert 150 < earlier < 250
    assert all(out <= number for number, out in enumerate(given))
    assert len(set(given)) + 4 >= 400 - earlier


def test_state_brings_back_images_and_draws() -> None:
    pool, other = ImagePool(4, seed=0), ImagePool(4, seed=9)
    outputs(pool, range(30))
    other.load_state_dict(pool.state_dict())
    assert outputs(pool, range(30, 60)) == outputs(other, range(30, 60))
