"""CUT's generator: CycleGAN's ResNet, one way, whose first half also gives the features that are contrasted."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor, nn

from ctseg.errors import PluginError
from ctseg.networks.blocks import crop_to, init_normal, pad_to_multiple
from ctseg.networks.resnet_generator import resnet_translator
from ctseg.plugins.protocols import ObjectiveContext
from ctseg_cut.objective import CutObjective
from ctseg_cut.settings import CutSettings

STRIDE = 4
HALVINGS = (1, 2)
"""Places of the two halvings in the translator; the residual blocks follow."""


class CutGenerator(nn.Module):
    """Translates MR to CT only, and brings its own objective.

    Args:
        settings: those of `CutSettings`.
    """

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.settings = CutSettings.model_validate(settings)
        width, blocks = self.settings.width, self.settings.blocks
        self.layers = resnet_translator(width, blocks)
        first = HALVINGS[-1] + 1
        self.tapped = (*HALVINGS, *sorted({first, first + blocks // 2}))
        self.tap_channels = (1, 2 * width, *[4 * width] * (len(self.tapped) - 1))
        init_normal(self)

    def to_target(self, images: Tensor) -> Tensor:
        """MR -> pseudo-CT: (B, 1, H, W) in [-1, 1], any H and W from 8 up."""
        return crop_to(self.layers(pad_to_multiple(images, STRIDE)), images)

    def to_source(self, images: Tensor) -> NoReturn:  # noqa: ARG002 - the protocol's name
        """There is no way back.

        Raises:
            PluginError: always.
        """
        raise PluginError("generator cut translates MR to CT only; for both directions use --generator amd or resnet")

    def taps(self, images: Tensor) -> list[Tensor]:
        """(B, 1, H, W) -> maps (B, `tap_channels`, h, w): the images themselves and four (three for 1 block) layers."""
        maps = pad_to_multiple(images, STRIDE)
        tapped = [maps]
        for place, layer in enumerate(list(self.layers)[: self.tapped[-1] + 1]):
            maps = layer(maps)
            if place in self.tapped:
                tapped.append(maps)
        return tapped

    def objective(self, context: ObjectiveContext) -> CutObjective:
        """The training objective of CUT."""
        return CutObjective(self, self.settings, context)
