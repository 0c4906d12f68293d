"""The built-in similarity metrics: the paper's (15)-(17), the same with an `imagehash` fingerprint, and normalised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.io.pages import blocks
from ctseg.matching.fingerprint import fingerprints, hamming, pack_bits
from ctseg.matching.hashed import BitDistance, Hashed, Nearest, nearest_hashed
from ctseg.matching.search import nearest_by_distance
from ctseg.plugins.protocols import Descriptors
from ctseg.preprocess.settings import WINDOW_HU
from ctseg.progress import ProgressCallback

PAPER_SIDE = 240
"""The lesion distance is counted in pixels of a 240 x 240 slice (paper 3.1.4, below (17))."""
LESION_GREY = 120
"""Above it a CT pixel counts as haemorrhage (paper 3.1.4), in slices of 0 to 100 HU; in others, what is as dense."""
BITS = 64
"""Of a fingerprint."""
HASH_KINDS = ("phash", "dhash", "whash", "average_hash")


def lesion_grey(settings: Mapping[str, Any]) -> int:
    """The grey value of a CT set that is as many HU as `LESION_GREY` is in slices of 0 to 100 HU: 47 HU.

    Args:
        settings: of the preprocessing, with its `window` in HU; without one `LESION_GREY` stays.

    Returns:
        0 to 255; at 0 or 255 the window does not reach the density.
    """
    low, high = settings.get("window") or WINDOW_HU
    hu = WINDOW_HU[0] + LESION_GREY / 255 * (WINDOW_HU[1] - WINDOW_HU[0])
    return round(min(max(255 * (hu - low) / (high - low), 0.0), 255.0))


def lesion_areas(
    images: NDArray[np.uint8], masks: NDArray[np.uint8] | None, threshold: int = LESION_GREY
) -> NDArray[np.float64]:
    """p_tumour or p_iph of equation (16) in pixels at 240 x 240: (N, H, W) -> (N,).

    Args:
        images: slices, 0..255.
        masks: 0/1 lesion masks of a labelled domain: the area is the mask's. None: the pixels above `threshold`.
        threshold: 120 of 255 in the paper.
    """
    pictures = (picture for block in blocks(images if masks is None else masks) for picture in block)
    lesions = (picture > threshold for picture in pictures) if masks is None else pictures
    counts = np.fromiter(map(np.count_nonzero, lesions), dtype=np.float64, count=len(images))
    areas: NDArray[np.float64] = counts * (PAPER_SIDE / images.shape[1]) * (PAPER_SIDE / images.shape[2])
    return areas


class _HashedSearch:
    """A search in whole numbers, for metrics that weigh differing bits and the difference of one number."""

    number: str
    """The descriptor that is the number."""

    def weights(self) -> tuple[float, float]:
        """Of one differing bit and of the number's difference."""
        raise NotImplementedError

    def combined(self, bits: NDArray[np.uint8], difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """The distance of pairs, from their differing bits and their differences."""
        raise NotImplementedError

    def distance(self, source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        """Of all pairs: (n, m)."""
        bits = hamming(source["fingerprint"], target["fingerprint"])
        return self.combined(bits, _difference(source[self.number], target[self.number]))

    def nearest(
        self, source: Descriptors, target: Descriptors, k: int, progress: ProgressCallback | None = None
    ) -> Nearest:
        """What sorting `distance` finds, see `ctseg.matching.search.nearest`."""
        weights = self.weights()
        is_own = type(self).distance is _HashedSearch.distance  # a plugin may inherit and measure otherwise
        if not is_own or not k or not len(source["fingerprint"]) or not all(0 <= weight < np.inf for weight in weights):
            return nearest_by_distance(self.distance, source, target, k, progress)
        ours, theirs = (Hashed(side["fingerprint"], side[self.number]) for side in (source, target))
        return nearest_hashed(ours, theirs, k, BitDistance(*weights, self.combined), progress)


def _difference(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) and (m,) -> (n, m), absolute."""
    return np.abs(source[:, None] - target[None, :])


class FingerprintMetric(_HashedSearch):
    """`d_sim = lambda_ham * d_ham + d_les` (17) on any 64-bit fingerprint.

    Args:
        fingerprint: (N, H, W) uint8 -> (N,) uint64.
        lambda_ham: weight of one differing bit, in pixels.
        threshold: what counts as a lesion in slices without masks, of 255.
    """

    symmetric = True
    number = "lesion_px"

    def __init__(
        self,
        fingerprint: Callable[[NDArray[np.uint8]], NDArray[np.uint64]],
        lambda_ham: float = 100.0,
        threshold: int = LESION_GREY,
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
            "lesion_difference": _difference(source["lesion_px"], target["lesion_px"]),
        }

    def weights(self) -> tuple[float, float]:
        """Of a bit and of a pixel."""
        return self.lambda_ham, 1.0

    def combined(self, bits: NDArray[np.uint8], difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """d_sim (17)."""
        cost: NDArray[np.float64] = float(self.lambda_ham) * bits + difference  # a whole number stays in 8 bits
        return cost


class AmdMetric(FingerprintMetric):
    """The paper's similarity, equations (8)-(17).

    Args:
        lambda_ham: 100 in the paper (17).
        threshold: 120 of 255 in the paper, for slices without masks.
        size: side N of the scaled image, 32 in the paper.
    """

    def __init__(self, lambda_ham: float = 100.0, threshold: int = LESION_GREY, size: int = 32) -> None:
        super().__init__(lambda images: fingerprints(images, size), lambda_ham, threshold)


class NormalisedMetric(_HashedSearch):
    """The paper's similarity without its pixels, its grey value of 120 and its data set's areas.

    `d = lambda_ham * d_ham / 64 + lambda_les * |r_source - r_target|`, each term from 0 to 1.

    `d_ham` is (15). `r` is a slice's place among the lesion-bearing slices of its own set, by lesion area as a share of
    brain area: 0 for a slice without lesion, else the mean of the shares of them that have less and that have at most
    as much. So only the order of areas within a set counts: a source of large tumours and a target of small bleeds meet
    rank by rank, and what makes all areas of a set larger or smaller (a threshold, partial volume) has no say. Brain is
    what is not exactly 0, and areas are shares of it, so neither the size of slices nor that of pixels matters.

    In slices without masks the lesion is brain above `median + bright * (upper quartile - median)` of all brain pixels
    of the set: a bound that goes along with the window, which 120 of 255 does not.

    The paper names the tuning of (17) to its data set as its limit; this form is not from the paper.

    Args:
        lambda_ham: weight of all bits differing.
        lambda_les: weight of the most lesion against none.
        bright: how many upper half quartile ranges above the median a lesion begins, in slices without masks. 4 is 120
            of 255 on the phantom's CT in the default window.
        size: side N of the scaled image, 32 in the paper.
    """

    symmetric = True
    whole_set = True
    number = "lesion_rank"

    def __init__(self, lambda_ham: float = 1.0, lambda_les: float = 1.0, bright: float = 4.0, size: int = 32) -> None:
        self.lambda_ham, self.lambda_les, self.bright, self.size = lambda_ham, lambda_les, bright, size

    def describe(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None) -> dict[str, NDArray[Any]]:
        """All slices of a set, (N, H, W), and masks or None -> `fingerprint` (N,) uint64, `lesion_rank` (N,) 0..1."""
        shares = lesion_shares(images, masks, self.bright)
        return {"fingerprint": fingerprints(images, self.size), "lesion_rank": lesion_ranks(shares)}

    def parts(self, source: Descriptors, target: Descriptors) -> dict[str, NDArray[Any]]:
        """d_ham (15) in bits, and the difference of lesion ranks, each (n, m)."""
        return {
            "hamming": hamming(source["fingerprint"], target["fingerprint"]),
            "lesion_rank_difference": _difference(source["lesion_rank"], target["lesion_rank"]),
        }

    def weights(self) -> tuple[float, float]:
        """Of a bit and of the whole range of ranks."""
        return self.lambda_ham / BITS, self.lambda_les

    def combined(self, bits: NDArray[np.uint8], difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """From 0 to `lambda_ham + lambda_les`."""
        return self.lambda_ham * (bits / BITS) + self.lambda_les * difference


def lesion_shares(
    images: NDArray[np.uint8], masks: NDArray[np.uint8] | None, bright: float = 4.0
) -> NDArray[np.float64]:
    """Lesion area as a share of the brain's, from 0 to 1: (N, H, W) -> (N,); 0 for a slice without brain.

    Args:
        images: all slices of a set; 0 outside the brain.
        masks: 0/1 lesion masks, or None: brain above `bright_bound`.
        bright: see there.
    """
    bound = bright_bound(images, bright) if masks is None else 0.0
    pictures = (image for block in blocks(images) for image in block)
    labels = None if masks is None else (mask for block in blocks(masks) for mask in block)
    shares = np.zeros(len(images))
    for place, image in enumerate(pictures):
        brain = image > 0
        lesion = image > bound if labels is None else next(labels) > 0
        shares[place] = np.count_nonzero(lesion & brain) / max(int(np.count_nonzero(brain)), 1)
    return shares


def bright_bound(images: NDArray[np.uint8], bright: float) -> float:
    """`median + bright * (upper quartile - median)` of the brain pixels of all slices (N, H, W).

    The bound hardly depends on how much lesion a set holds, as a share of the brightest pixels would. It follows an
    affine change of grey values (a window). The range counts as one grey value at least.
    """
    greys = np.zeros(256, dtype=np.int64)
    for image in (image for block in blocks(images) for image in block):
        greys += np.bincount(image.ravel(), minlength=256)
    greys[0] = 0
    upto = np.cumsum(greys)
    median, quartile = (float(np.searchsorted(upto, share * upto[-1])) for share in (0.5, 0.75))
    return median + bright * max(quartile - median, 1.0)


def lesion_ranks(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places among the positive ones, ties in the middle of theirs, 0 for those that are 0: (N,) -> (N,)."""
    positive = np.sort(shares[shares > 0])
    less, at_most = np.searchsorted(positive, shares, "left"), np.searchsorted(positive, shares, "right")
    return np.where(shares > 0, (less + at_most) / (2.0 * max(len(positive), 1)), 0.0)


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

    def __init__(self, kind: str = "phash", lambda_ham: float = 100.0, threshold: int = LESION_GREY) -> None:
        if kind not in HASH_KINDS:
            raise ValueError(f"kind {kind!r}: expected one of {', '.join(HASH_KINDS)}")
        super().__init__(lambda images: package_hashes(images, kind), lambda_ham, threshold)


def package_hashes(images: NDArray[np.uint8], kind: str) -> NDArray[np.uint64]:
    """64-bit fingerprints by `imagehash`: (N, H, W) -> (N,) uint64."""
    import imagehash
    from PIL import Image

    compute = getattr(imagehash, kind)
    pictures = (Image.fromarray(np.ascontiguousarray(image)) for block in blocks(images) for image in block)
    bits = [np.asarray(compute(picture).hash, dtype=bool) for picture in pictures]
    return pack_bits(np.array(bits).reshape(-1, 8, 8))
