"""What a plugin has to look like. Nothing here needs torch at import time: listing plugins stays cheap.

Images are (B, 1, H, W) floats in [-1, 1] inside networks, (N, H, W) uint8 in slice sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ctseg.io.volume import Volume

Domain = Literal["mr", "ct"]
Descriptors = Mapping[str, NDArray[Any]]
"""Named arrays of equal length N: what a similarity metric remembers of N slices."""


@runtime_checkable
class SimilarityMetric(Protocol):
    """How far a source slice is from a target slice. Smaller is more similar."""

    def describe(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None) -> Descriptors:
        """(N, H, W) images, (N, H, W) 0/1 masks or None for an unlabelled domain -> descriptors of length N.

        Called with a set's matched slices, block by block; once with all of them where `whole_set` is true.
        """
        ...

    def distance(self, source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        """Descriptors of n and m slices -> (n, m) distances."""
        ...

    # Optional:
    #   whole_set: bool, true where a slice's descriptor depends on the others described with it (its rank among them).
    #   symmetric: bool, true where distance(a, b) is distance(b, a).T: then `nearest` also serves the search for each
    #       target slice's nearest source slices, the two swapped; a metric that is meant to be lopsided says False.
    #   nearest(source, target, k) -> (indices (n, k) int64, distances (n, k) float64): an exact, faster search, sorted
    #       by (distance, target index); ctseg falls back on `distance` in blocks. With a parameter `progress` it is
    #       given one, to call with (source slices done, n, "").
    #   parts(source, target) -> {column: (n, m)}: the parts of the distance, written as further columns of pairs.csv.


@dataclass(frozen=True)
class SegmenterOutput:
    """`logits` (B, 1, H, W), and the `hidden` map (B, C, h, w) that the domain discriminator sees."""

    logits: Tensor
    hidden: Tensor


class Segmenter(Protocol):
    """An `nn.Module`: (B, 1, H, W) in [-1, 1], any H and W, to `SegmenterOutput`."""

    hidden_channels: int

    def __call__(self, images: Tensor) -> SegmenterOutput:
        """One pass."""
        ...

    # Optional:
    #   load_pretrained(state: Mapping[str, Tensor]): put published weights in (`das-train --pretrained FILE`); raises
    #       ValueError, in one line, where they do not fit.
    #   input_mean, input_std: float, what it takes from images in [0, 1] and divides them by itself; else 0.5 and 0.5,
    #       for images in [-1, 1] as they are. `source_mean` and `source_std` of das-train are beside these.


class Generator(Protocol):
    """An `nn.Module` that translates in both directions, (B, 1, H, W) in [-1, 1] to the same shape and range.

    A generator without `features` cannot serve the feature-space loss (equation 6); one that has its own training
    objective gives it with `objective(context)`, see `Objective`; one that translates only to the target raises
    `PluginError` in `to_source` and must bring its own objective.
    """

    def to_target(self, images: Tensor) -> Tensor:
        """MR -> pseudo-CT."""
        ...

    def to_source(self, images: Tensor) -> Tensor:
        """CT -> pseudo-MR."""
        ...

    # Optional:
    #   features(images, domain) -> (B, C, h, w): the shared representation F of equations (6) and (7); domain 'mr' or
    #       'ct'.
    #   feature_channels: int
    #   shared_parameters() -> parameters of the shared module alone, which the feature loss moves (fusion block).
    #   encode(images, domain) -> Tensor and fuse(Tensor) -> features: the two halves of `features`, for
    #       `fda_features=after`, where the shared module is asked again after its update.
    #   translate(images, domain) -> (translation, features): both in one pass; what `to_target` (domain 'mr') or
    #       `to_source` ('ct') and `features` give.
    #   objective(context: ObjectiveContext) -> Objective: a training objective of the generator's own.


@dataclass(frozen=True)
class Batch:
    """Matched slices for one optimiser step, all on the training device, images in [-1, 1]."""

    source: Tensor
    """(B, 1, H, W) MR."""
    source_mask: Tensor
    """(B, 1, H, W) 0/1 float."""
    target: Tensor
    """(B, 1, H, W) CT, unlabelled."""


class Objective(Protocol):
    """How a generator is trained: owns its losses, helper networks and optimisers."""

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One update of everything; returns named scalar losses, detached, on the device."""
        ...

    def set_lr_factor(self, factor: float) -> None:
        """Scale every optimiser's base learning rate (the schedule lives in the training loop)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the generator's own weights that an exact resume needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        ...

    # Optional:
    #   modules() -> {name: nn.Module}: helper networks worth keeping in the run (S_ori for the lesion audit).


@dataclass(frozen=True)
class ObjectiveContext:
    """What an objective is made from."""

    settings: Any
    """The resolved `SynthesisSettings`."""
    device: torch.device
    autocast: Callable[[], Any]
    """A context manager factory for mixed precision."""
    channels: int = 1


@runtime_checkable
class BrainExtractor(Protocol):
    """CT volume in HU -> brain mask (K, H, W) bool on the same grid."""

    def __call__(self, volume: Volume) -> NDArray[np.bool_]:
        """Find the brain of one scan."""
        ...


def has_features(generator: nn.Module) -> bool:
    """Whether a generator can serve the feature-space loss."""
    return callable(getattr(generator, "features", None)) and hasattr(generator, "feature_channels")
