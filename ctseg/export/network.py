"""The network of a model as other programs run it, and the slices on which both are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctseg.errors import InputError
from ctseg.inference.models import LoadedModel

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(B, 1, H, W) float32 slices in [-1, 1] -> (B, 1, H, W) float32 logits."""
LIMIT = 1e-4
"""An exported network's probabilities may differ by at most this from those of the model."""
SLICES = 4


class LogitsOnly(nn.Module):
    """(B, 1, H, W) slices in [-1, 1] -> (B, 1, H, W) logits, without the hidden map that training looks at."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor) -> Tensor:
        """Logits alone."""
        logits: Tensor = self.segmenter(images).logits
        return logits


@dataclass(frozen=True)
class Parity:
    """How far an exported network's outputs are from the model's."""

    slices: int
    size: int
    probability: float
    """Largest difference of two probabilities."""
    logit: float
    """Largest difference of two logits."""
    spread: float
    """From the smallest to the largest logit of the model."""

    def line(self) -> str:
        """For people."""
        return (
            f"parity on {self.slices} slices of {self.size} x {self.size}: probabilities at most "
            f"{self.probability:.1e} apart (limit {LIMIT:g}), logits at most {self.logit:.1e} "
            f"of a spread of {self.spread:.3g}"
        )


def exported_network(model: LoadedModel) -> LogitsOnly:
    """The network on the CPU, in evaluation mode and the usual memory layout."""
    return LogitsOnly(model.module.to(device="cpu", memory_format=torch.contiguous_format)).eval()  # type: ignore[call-overload]


def check_slices(size: int, count: int) -> NDArray[np.float32]:
    """(count, 1, size, size) slices in [-1, 1], the same in every call: ellipses with grain and bright blobs."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:size, :size] / size - 0.5
    images = np.full((count, 1, size, size), -1.0)
    for k in range(count):
        inside = (rows / 0.4) ** 2 + (cols / (0.25 + 0.05 * k / count)) ** 2 < 1
        blob = (rows - 0.1) ** 2 + (cols - 0.05 * k) ** 2 < (0.02 + 0.03 * k) ** 2
        images[k, 0] = np.where(inside, np.where(blob, 0.3, -0.35) + rng.normal(0, 0.08, rows.shape), -1.0)
    clipped: NDArray[np.float32] = np.clip(images, -1, 1).astype(np.float32)
    return clipped


def checked_parity(network: nn.Module, run: Run, size: int, what: str) -> Parity:
    """Compare an exported network with its model, in batches of one and of several slices.

    Raises:
        InputError: if a probability differs by more than `LIMIT`, or an output is not finite.
    """
    images = check_slices(size, SLICES)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    found = np.concatenate([run(images[:1]), run(images[1:])])
    logit = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("nan")
    with np.errstate(over="ignore"):
        probability = float(np.abs(1 / (1 + np.exp(-found)) - 1 / (1 + np.exp(-expected))).max())
    if not (np.isfinite(logit) and probability <= LIMIT):
        raise InputError(
            f"{what}: its probabilities are {probability:.1e} from the model's, more than {LIMIT:g}; nothing is "
            "written: report it with the output of `ctseg doctor`"
        )
    return Parity(len(images), size, probability, logit, float(np.ptp(expected)))
