"""The built-in similarity metrics: the paper's (15)-(17), and the same with a fingerprint of the `imagehash` family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.matching.fingerprint import fingerprints, hamming, pack_bits
from ctseg.protocols import Descriptors

PAPER_SIDE = 240
"""The lesion distance is counted in pixels of a 240 x 240 slice (paper 3.1.4, below (17))."""
HASH_KINDS = ("phash", "dhash", "whash", "average_hash")


def lesion_areas(
    images: NDArray[np.uint8], masks: NDArray[np.uint8] | None, threshold: int = 120
) -> NDArray[np.float64]:
    """p_tumour or p_iph of equation (16) in pixels at 240 x 240: (N, H, W) -> (N,).

    Args:
        images: slices, 0..255.
        masks: 0/1 lesion masks of a labelled domain: the area is the mask's. None: the pixels above `threshold`.
        threshold: 120 of 255 in the paper.
    """
    # Slice by slice: the arrays are memory maps that need not fit into memory.
    lesions = (mask > 0 for mask in masks) if masks is not None else (image > threshold for image in images)
    counts = np.fromiter((np.count_nonzero(lesion) for lesion in lesions), dtype=np.float64, count=len(images))
    return counts * (PAPER_SIDE / images.shape[1]) * (PAPER_SIDE / images.shape[2])


class FingerprintMetric:
    """`d_sim = lambda_ham * d_ham + d_les` (17) on any 64-bit fingerprint.

    Args:
        fingerprint: (N, H, W) uint8 -> (N,) uint64.
        lambda_ham: weight of one differing bit, in pixels.
        threshold: what counts as a lesion in slices without masks, of 255.
    """

    symmetric = True

    def __init__(
        self,
        fingerprint: Callable[[NDArray[np.uint8]], NDArray[np.uint64]],
        lambda_ham: float = 100.0,
        threshold: int = 120,
    ) -> None:
        self.fingerprint, self.lambda_ham, self.threshold = fingerprint, lambda_ham, threshold

    def describe(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None) -> dict[str, NDArray[Any]]:
        """(N, H, W) slices and masks, or None -> `fingerprint` (N,) uint64, `lesion_px` (N,) float64."""
        return {
            "fingerprint": self.fingerprint(images),
            "lesion_px": lesion_areas(images, masks, self.threshold),
        }

    def parts(self, source: Descriptors, target: Descriptors) -> dict[str, NDArray[Any]]:
        """d_ham (15) and d_les (16), each (n, m)."""
        return {
            "hamming": hamming(source["fingerprint"], target["fingerprint"]),
            "lesion_difference": np.abs(source["lesion_px"][:, None] - target["lesion_px"][None, :]),
        }

    def distance(self, source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        """d_sim (17): (n, m)."""
        parts = self.parts(source, target)
        return self.lambda_ham * parts["hamming"] + parts["lesion_difference"]


class AmdMetric(FingerprintMetric):
    """The paper's similarity, equations (8)-(17).

    Args:
        lambda_ham: 100 in the paper (17).
        threshold: 120 of 255 in the paper, for slices without masks.
        size: side N of the scaled image, 32 in the paper.
    """

    def __init__(self, lambda_ham: float = 100.0, threshold: int = 120, size: int = 32) -> None:
        super().__init__(lambda images: fingerprints(images, size), lambda_ham, threshold)


class ImageHashMetric(FingerprintMetric):
    """The same distance on a fingerprint of the `imagehash` package.

    `phash` is close to the paper's own: it thresholds at the median, not the mean, and resizes with Lanczos, not
    bilinear, so a few of the 64 bits differ.

    Args:
        kind: 'phash', 'dhash', 'whash' (Haar wavelet) or 'average_hash'.
        lambda_ham: weight of one differing bit, in pixels.
        threshold: what counts as a lesion in slices without masks, of 255.

    Raises:
        ValueError: for another kind.
    """

    def __init__(self, kind: str = "phash", lambda_ham: float = 100.0, threshold: int = 120) -> None:
        if kind not in HASH_KINDS:
            raise ValueError(f"kind {kind!r}: expected one of {', '.join(HASH_KINDS)}")
        super().__init__(lambda images: package_hashes(images, kind), lambda_ham, threshold)


def package_hashes(images: NDArray[np.uint8], kind: str) -> NDArray[np.uint64]:
    """64-bit fingerprints by `imagehash`: (N, H, W) -> (N,) uint64."""
    import imagehash
    from PIL import Image

    compute = getattr(imagehash, kind)
    bits = [np.asarray(compute(Image.fromarray(np.ascontiguousarray(image))).hash, dtype=bool) for image in images]
    return pack_bits(np.array(bits).reshape(-1, 8, 8))
