from __future__ import annotations

from pathlib import Path

import imagehash
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ctseg.errors import SettingError
from ctseg.matching.fingerprint import fingerprints
from ctseg.matching.metrics import HASH_KINDS, AmdMetric, ImageHashMetric, lesion_areas, lesion_grey, package_hashes
from ctseg.matching.settings import AmdMetricSettings, HashMetricSettings
from ctseg.plugins.protocols import SimilarityMetric
from ctseg.preprocess.ct import window_map
from ctseg.settings import resolve


@pytest.fixture
def images(rng: np.random.Generator) -> NDArray[np.uint8]:
    coarse = rng.integers(0, 256, (6, 8, 8))
    return np.kron(coarse, np.ones((1, 8, 8))).astype(np.uint8)


def test_area_of_a_mask_is_the_masks() -> None:
    image = np.full((1, 240, 240), 255, dtype=np.uint8)
    mask = np.zeros((1, 240, 240), dtype=np.uint8)
    mask[0, 10:20, 10:22] = 1
    assert lesion_areas(image, mask).tolist() == [120]


def test_area_without_masks_is_what_is_above_the_threshold() -> None:
    image = np.zeros((2, 240, 240), dtype=np.uint8)
    image[0, 0, :5] = 120
    image[0, 1, :7] = 121
    image[1] = 255
    assert lesion_areas(image, None).tolist() == [7, 240 * 240]
    assert lesion_areas(image, None, threshold=119).tolist() == [12, 240 * 240]


@pytest.mark.parametrize("shape", [(120, 120), (60, 120), (480, 240)])
def test_areas_are_counted_at_240(shape: tuple[int, int]) -> None:
    image = np.zeros((1, *shape), dtype=np.uint8)
    image[0, : shape[0] // 2, : shape[1] // 3] = 200
    assert lesion_areas(image, None)[0] == pytest.approx(120 * 80)
    assert lesion_areas(image, image // 200)[0] == pytest.approx(120 * 80)


def test_distance_as_written_out(images: NDArray[np.uint8], rng: np.random.Generator) -> None:
    masks = (rng.random(images.shape) < 0.1).astype(np.uint8)
    metric = AmdMetric()
    source, target = metric.describe(images[:4], masks[:4]), metric.describe(images[2:], None)
    scale = (240 / 64) ** 2
    for i in range(4):
        for j in range(4):
            bits = int(fingerprints(images[i : i + 1])[0]) ^ int(fingerprints(images[j + 2 : j + 3])[0])
            d_ham = bin(bits).count("1")
            d_les = abs(int(masks[i].sum()) - int((images[j + 2] > 120).sum())) * scale
            assert metric.parts(source, target)["hamming"][i, j] == d_ham
            assert metric.parts(source, target)["lesion_difference"][i, j] == pytest.approx(d_les)
            assert metric.distance(source, target)[i, j] == pytest.approx(100 * d_ham + d_les)


def test_lambda_weighs_the_bits(images: NDArray[np.uint8]) -> None:
    described = AmdMetric().describe(images, None)
    parts = AmdMetric().parts(described, described)
    expected = 3 * parts["hamming"].astype(float) + parts["lesion_difference"]
    np.testing.assert_array_equal(AmdMetric(lambda_ham=3).distance(described, described), expected)
    # 64 bits of weight 100 do not fit into the eight bits that count them.
    extremes = {"fingerprint": np.array([0, 2**64 - 1], dtype=np.uint64), "lesion_px": np.zeros(2)}
    for weight in (100.0, 100, np.int64(100)):
        metric = AmdMetric(lambda_ham=weight)
        assert metric.distance(extremes, extremes).tolist() == [[0, 6400], [6400, 0]]
        assert metric.nearest(extremes, extremes, 2)[1].tolist() == [[0, 6400], [0, 6400]]


@pytest.mark.parametrize("kind", HASH_KINDS)
def test_package_hashes_are_the_packages(kind, images: NDArray[np.uint8]) -> None:
    expected = [int(str(getattr(imagehash, kind)(Image.fromarray(image))), 16) for image in images]
    assert [int(value) for value in package_hashes(images, kind)] == expected
    metric = ImageHashMetric(kind)
    assert isinstance(metric, SimilarityMetric)
    assert len(set(expected)) > 1
    np.testing.assert_array_equal(np.diag(metric.distance(*[metric.describe(images, None)] * 2)), 0)


def test_an_unknown_hash_is_refused() -> None:
    with pytest.raises(ValueError, match=r"colorhash.*phash"):
        ImageHashMetric("colorhash")


@pytest.mark.real_data
def test_phash_is_close_to_the_paper_but_not_the_same(real_data: Path) -> None:
    flair = np.asanyarray(nib.load(real_data / "mr-msd-task01" / "BRATS_009_flair_slab.nii.gz").dataobj)
    slices = np.moveaxis(np.clip(flair / np.percentile(flair, 99.5) * 255, 0, 255).astype(np.uint8), 2, 0)
    brain = slices[(slices > 0).mean(axis=(1, 2)) > 0.1]
    assert len(brain) > 20
    differing = np.bitwise_count(fingerprints(brain) ^ package_hashes(brain, "phash"))
    assert 0 < differing.mean() < 8  # unrelated fingerprints differ in 32 bits
    assert differing.max() <= 16


def test_settings_are_what_the_constructors_take() -> None:
    assert vars(AmdMetric(**resolve(AmdMetricSettings).model_dump())).keys() == vars(AmdMetric()).keys()
    assert ImageHashMetric("phash", **resolve(HashMetricSettings, {"lambda_ham": 5}).model_dump()).lambda_ham == 5
    with pytest.raises(SettingError, match="threshold"):
        resolve(AmdMetricSettings, {"threshold": 300})


@pytest.mark.parametrize(
    ("window", "grey"),
    [((0, 100), 120), ((0, 50), 240), ((0, 80), 150), ((-20, 120), 122), ((0, 40), 255), ((50, 90), 0)],
)
def test_the_same_density_counts_as_haemorrhage_in_every_window(window: tuple[float, float], grey: int) -> None:
    slope, offset = window_map(window)
    assert lesion_grey({"window": list(window)}) == grey
    if 0 < grey < 255:
        hu = np.array([[[46.5, 47.8]]])  # 120 of 255 is 47.06 HU
        image = np.round(slope * hu + offset).clip(0, 255).astype(np.uint8)
        assert lesion_areas(image, None, lesion_grey({"window": window})) == 240 * 240 / 2


def test_without_a_known_window_the_papers_grey_value_stays() -> None:
    assert lesion_grey({}) == 120
