"""A pool of earlier fakes, so that a discriminator does not forget them (Shrivastava et al. 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ctseg.training.processes import gathered, own_rows


class ImagePool:
    """Gives back each image or, half of the time once it is full, an earlier one in its place, which it then replaces.

    Args:
        size: images kept; 0 gives every image back unchanged.
        seed: of its own draws.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.kept: list[Tensor] = []
        self._random = torch.Generator().manual_seed(seed)

    def swap(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W), detached; all processes of a training keep the same images."""
        images = images.detach()
        if not self.size:
            return images
        return torch.stack([self._one(image) for image in gathered(images)])[own_rows(len(images))]

    def _one(self, image: Tensor) -> Tensor:
        if len(self.kept) < self.size:
            self.kept.append(image.clone())
            return image
        place = int(torch.randint(2 * self.size, (1,), generator=self._random))
        if place >= self.size:
            return image
        earlier, self.kept[place] = self.kept[place], image.clone()
        return earlier

    def state_dict(self) -> dict[str, Any]:
        """The images and the state of the draws."""
        return {"kept": list(self.kept), "random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.kept = list(state["kept"])
        self._random.set_state(state["random"].cpu())
