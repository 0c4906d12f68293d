from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctseg.io.slices import SliceSet
from ctseg.matching.metrics import LESION_GREY
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.synthesis import audit
from ctseg.synthesis.audit import AuditSlices, Translated, measure


def slices(tissue: int = 90, lesion: int = 200) -> AuditSlices:
    """Three 16 x 16 slices with textured tissue of their own and a 4 x 4 lesion; real CT is the MR, halved."""
    images = np.zeros((3, 16, 16), np.uint8)
    masks = np.zeros_like(images)
    for place, image in enumerate(images):
        image[1:15, 1:15] = tissue + 10 * place + np.arange(14)
        masks[place, 6:10, 5 + place : 9 + place] = 1
    images[masks == 1] = lesion
    return AuditSlices(images, masks, images // 2)


def found(images: np.ndarray, where: np.ndarray | None = None) -> Translated:
    return Translated(images.astype(np.uint8), where)


class TestMeasure:
    def test_a_faithful_translation(self) -> None:
        given = slices()
        numbers = measure(given, found(given.images, given.masks.astype(bool)))
        assert numbers["audit_dice_s_ori"] == numbers["audit_brighter"] == 1
        assert numbers["audit_correlation"] == 1
        assert numbers["audit_spread"] == pytest.approx(2, rel=0.05)
        assert numbers["audit_diversity"] == pytest.approx(2, rel=0.05)
        assert not audit.warnings(numbers)

    def test_threshold_dice_by_hand(self) -> None:
        given = slices()
        pseudo_ct = np.where(given.images > 0, 60, 0)
        pseudo_ct[:, 6:10, 5:9] = 121
        overlap = 16 + 12 + 8
        assert measure(given, found(pseudo_ct))["audit_dice_threshold"] == pytest.approx(2 * overlap / 96, abs=1e-4)
        pseudo_ct[pseudo_ct == 121] = LESION_GREY
        assert measure(given, found(pseudo_ct))["audit_dice_threshold"] == 0

    def test_contrast_is_inside_minus_ring(self) -> None:
        given = slices()
        pseudo_ct = np.where(given.images > 0, 60, 0)
        pseudo_ct[given.masks == 1] = 75
        pseudo_ct[2][given.masks[2] == 1] = 50
        numbers = measure(given, found(pseudo_ct))
        assert numbers["audit_contrast"] == pytest.approx((15 + 15 - 10) / 3, abs=1e-4)
        assert numbers["audit_brighter"] == pytest.approx(2 / 3, abs=1e-4)

    def test_what_is_not_defined_is_left_out(self) -> None:
        given = slices()
        unlabelled = AuditSlices(given.images, np.zeros_like(given.masks), given.real_ct)
        numbers = measure(unlabelled, found(np.full_like(given.images, 60)))
        assert {"audit_dice_s_ori", "audit_dice_threshold", "audit_contrast", "audit_correlation"}.isdisjoint(numbers)


class TestWarnings:
    def test_collapse_to_one_grey(self) -> None:
        given = slices()
        texts = audit.warnings(measure(given, found(np.where(given.images > 0, 70, 0))))
        assert any("one grey value" in text for text in texts)

    def test_collapse_to_one_picture(self) -> None:
        given = slices()
        texts = audit.warnings(measure(given, found(np.repeat(given.images[:1], 3, axis=0))))
        assert [text for text in texts if text.startswith("collapse")] == [
            "collapse: pseudo-CT is nearly the same for every slice"
        ]

    def test_inversion(self) -> None:
        given = slices()
        texts = audit.warnings(measure(given, found(255 - given.images)))
        assert sum(text.startswith("inversion") for text in texts) == 3


class Shift(nn.Module):
    """A generator that adds 0.5, with dropout that would show if it were left in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def to_target(self, images: Tensor) -> Tensor:
        return self.dropout(images) + 0.5


class Bright(nn.Module):
    def forward(self, images: Tensor) -> SegmenterOutput:
        return SegmenterOutput(images - 0.2, images)


def test_translation_is_in_eval_mode_and_puts_the_mode_back() -> None:
    given, generator = slices(), Shift().train()
    translated = audit.translate_audit(generator, Bright(), given, nullcontext, torch.device("cpu"))
    assert np.array_equal(translated.pseudo_ct, np.minimum(given.images.astype(int) + 64, 255))
    assert np.array_equal(translated.found, given.images / 127.5 - 1 + 0.5 > 0.2)
    assert generator.training


class TestChoose:
    def test_slices_with_a_lesion_evenly_over_the_rows(self, toy: tuple[SliceSet, SliceSet]) -> None:
        source, target = toy
        masks = np.array(source.masks)
        masks[::2] = 0
        labelled = SliceSet(source.folder, source.images, masks, source.table, source.info)
        chosen = audit.choose(labelled, target, np.arange(12), np.arange(4, 12), 3)
        assert np.array_equal(chosen.images, source.images[[1, 5, 11]])
        assert np.array_equal(chosen.real_ct, target.images[[4, 8, 11]])

    def test_an_unlabelled_source(self, toy: tuple[SliceSet, SliceSet]) -> None:
        source, target = toy
        plain = SliceSet(source.folder, source.images, None, source.table, source.info)
        chosen = audit.choose(plain, target, np.arange(12), np.arange(12), 100)
        assert len(chosen.images) == 12
        assert not chosen.masks.any()
