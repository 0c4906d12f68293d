"""The whole of what happens to a batch: its draws, its order, and that it can be repeated."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ctseg.augment.pipeline import AugmentationRanges, SourceAugmentation, StudentView
from ctseg.networks.intensity import to_images, to_masks
from ctseg.segmentation.batches import augmentation_ranges
from ctseg.settings import resolve
from ctseg.training import presets
from ctseg.training.settings import AdaptationSettings

ALL = AugmentationRanges(0.5, 0.2, 0.05, 0.15, 0.08, 0.05, 15.0, 0.15, 1.0, 0.5, 0.02, 0.4, 0.3, 0.1, 0.5)
COUNT, SIDE = 8, 64


def heads() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    brain = (rows - 32) ** 2 + (columns - 31) ** 2 < 27**2
    images = np.where(brain, rng.integers(60, 100, (COUNT, SIDE, SIDE)), 0)
    masks = np.zeros_like(images)
    masks[:, 24:36, 20:34] = 1
    images[:, 40:50, 28:34] = 15
    return to_images(images.astype(np.uint8)), to_masks(masks.astype(np.uint8))


def student(rng: np.random.Generator, settings: AugmentationRanges = ALL, count: int = COUNT) -> StudentView:
    return StudentView.draw(rng, count, (SIDE, SIDE), settings, copy_paste=0.5, mask_ratio=0.5, mask_patch=8)


def flipped(images: Tensor, flips: np.ndarray) -> Tensor:
    """By hand, slice by slice."""
    found = images.clone()
    for place, (left_right, front_back) in enumerate(flips.T):
        axes = [axis for axis, chosen in ((-1, left_right), (-2, front_back)) if chosen]
        found[place] = images[place].flip(axes)
    return found


@pytest.mark.parametrize("preset", ["paper", "released", "smoke", "demo", "default"])
def test_the_draws_of_the_papers_augmentation_are_flips_then_brightness(preset: str) -> None:
    values = {name: value for name, value in presets.ADAPTATION[preset].items() if "segmenter" not in name}
    settings = augmentation_ranges(resolve(AdaptationSettings, values))
    images, masks = heads()
    new, moved = SourceAugmentation.draw(np.random.default_rng([7, 3, 1]), COUNT, settings).apply(images, masks)
    rng = np.random.default_rng([7, 3, 1])
    flips = rng.random((2, COUNT)) < 0.5
    assert torch.equal(moved, flipped(masks, flips))
    mirrored = flipped(images, flips)
    if preset == "default":
        drawn = torch.from_numpy(rng.uniform(-0.05, 0.05, COUNT)).float()[:, None, None, None]
        expected = torch.where(mirrored > -1, (mirrored + 2 * drawn).clamp(-1, 1), mirrored)
        assert torch.equal(new, expected)
    else:
        grey = (mirrored.double() + 1) * 127.5
        factor = torch.from_numpy(1 + rng.uniform(-0.2, 0.2, COUNT))[:, None, None, None]
        torch.testing.assert_close((new.double() + 1) * 127.5, (grey * factor).clamp(max=255), atol=1e-4, rtol=0)
        assert torch.equal(new == -1, mirrored == -1)


def test_what_is_added_leaves_the_draws_of_flips_and_brightness() -> None:
    plain = SourceAugmentation.draw(np.random.default_rng(1), COUNT, AugmentationRanges(0.5, 0.2))
    more = SourceAugmentation.draw(np.random.default_rng(1), COUNT, ALL)
    flips, factor = plain.steps
    assert (more.steps[2].left_right == flips.left_right).all()
    assert (more.steps[3].factor == factor.factor).all()


def test_every_setting_is_a_training_setting_and_zero_leaves_its_part_out(rng: np.random.Generator) -> None:
    assert {item.name for item in fields(AugmentationRanges)} <= set(AdaptationSettings.model_fields)
    whole = len(SourceAugmentation.draw(rng, 2, ALL).steps)
    assert whole == 14
    for item in fields(AugmentationRanges):
        one_off = replace(ALL, **{item.name: 0.0})
        gone = item.name not in ("flip_probability", "rotation_deg", "zoom")
        assert len(SourceAugmentation.draw(rng, 2, one_off).steps) == whole - gone
    assert len(SourceAugmentation.draw(rng, 2, replace(ALL, rotation_deg=0.0, zoom=0.0)).steps) == whole - 1


def test_nothing_asked_for_changes_nothing(rng: np.random.Generator) -> None:
    images, masks = heads()
    drawn = SourceAugmentation.draw(rng, COUNT, AugmentationRanges())
    assert all(map(torch.equal, drawn.apply(images, masks), (images, masks)))
    assert drawn.describe() == ["unchanged"] * COUNT


def test_a_drawn_source_augmentation_can_be_repeated_and_leaves_its_input(rng: np.random.Generator) -> None:
    (images, masks), kept = heads(), heads()
    drawn = SourceAugmentation.draw(rng, COUNT, ALL)
    first, second = drawn.apply(images, masks), drawn.apply(images, masks)
    assert all(map(torch.equal, first, second))
    assert all(map(torch.equal, (images, masks), kept))
    assert set(first[1].unique().tolist()) == {0.0, 1.0}
    other = SourceAugmentation.draw(rng, COUNT, ALL).apply(images, masks)
    assert not torch.equal(first[0], other[0])


def test_a_drawn_student_view_can_be_repeated_and_leaves_its_input(rng: np.random.Generator) -> None:
    images, lesions = heads()
    labels, weights = torch.zeros_like(lesions), torch.zeros_like(lesions)
    view = student(rng)
    first, second = (view.apply(images, labels, weights, lesions) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert torch.equal(images, heads()[0])
    assert not labels.any()
    assert first.labels.any()
    assert ((first.labels > 0) <= (first.weights > 0)).all()


def test_the_student_sees_nothing_moved_and_only_pasted_slices_have_distractors(rng: np.random.Generator) -> None:
    images, lesions = heads()
    none = torch.zeros_like(lesions)
    seen = student(rng).apply(images, none, none, lesions).images
    assert torch.equal(seen == -1, images == -1)
    view = StudentView.draw(rng, COUNT, (SIDE, SIDE), ALL, copy_paste=0.0, mask_ratio=0.0, mask_patch=8)
    assert view.distractors is None
    plain = view.apply(images, none, none, lesions)
    assert not plain.labels.any()
    assert not plain.weights.any()


def test_every_part_is_described_for_each_slice(rng: np.random.Generator) -> None:
    drawn = SourceAugmentation.draw(rng, COUNT, ALL)
    texts = drawn.describe()
    assert len(texts) == COUNT
    words = ("blood of", "grey x", "% of the range", "contrast x", "bias field", "noise of", "rotated", "edge cut")
    for word in (*words, "sharpness"):
        assert all(word in text for text in texts)
    assert all("patches masked" in text for text in student(rng).describe())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_a_cpu_gives(rng: np.random.Generator) -> None:
    images, masks = heads()
    drawn, view = SourceAugmentation.draw(rng, COUNT, ALL), student(rng)
    on_cpu, on_gpu = drawn.apply(images, masks), drawn.apply(images.cuda(), masks.cuda())
    none = torch.zeros_like(masks)
    seen_cpu = view.apply(images, none, none, masks)
    seen_gpu = view.apply(images.cuda(), none.cuda(), none.cuda(), masks.cuda())
    for cpu, gpu in zip((*on_cpu, *seen_cpu), (*on_gpu, *seen_gpu), strict=True):
        assert gpu.is_cuda
        assert ((cpu - gpu.cpu()).abs() > 1e-3).float().mean() < 1e-3  # a pixel on the edge may fall either way
