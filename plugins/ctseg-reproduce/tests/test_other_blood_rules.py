"""The rules that make a mask of probabilities are chosen on phantoms and on a real head without a bleed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ctseg_reproduce.other_blood import choose
from ctseg_reproduce.other_blood.choose import Case, Pieces, Rule
from ctseg_reproduce.other_blood.patients import PREPROCESSING

from ctseg.api import find_models
from ctseg.inference.kind_slices import KINDS
from ctseg.inference.models import ModelGroup
from ctseg.inference.other_blood import SURE, on_own_grid, sure_pieces
from ctseg.inference.prepare import ReadyCase, prepare_volume
from ctseg.io.stack import Grid
from ctseg.io.volume import Volume

RULE = Rule(0.0, 0.4, 0.9, 0.1, 0.3, 0.1)


def case(name: str, truth_ml: float, *pieces: tuple[float, ...]) -> Case:
    """Pieces of (mL, mL with 0.9, mL that is right, mL of bone), alike at every threshold and least area."""
    sure = [[one[1] if level <= 0.9 else 0.0 for level in choose.SURE] for one in pieces]
    ml, right = [one[0] for one in pieces], [one[2] for one in pieces]
    bone = [one[3] if len(one) > 3 else 0.0 for one in pieces]
    tables = [Pieces(area, each, ml, sure, right, bone) for area in choose.AREAS for each in choose.THRESHOLDS]
    return Case(name, truth_ml, tables)


CASES = [case("a", 10, (8, 4, 6), (0.2, 0.2, 0.2)), case("b", 2), case("c", 0, (1, 0.05, 0)), case("d", 0)]


def test_a_rule_keeps_large_and_sure_pieces() -> None:
    assert CASES[0].found(RULE) == (8, 6)
    assert CASES[0].found(replace(RULE, min_ml=0.1)) == pytest.approx((8.2, 6.2))
    assert CASES[0].found(replace(RULE, sure=0.95)) == (0, 0)
    assert CASES[2].found(RULE) == (0, 0)
    assert CASES[2].found(replace(RULE, sure_ml=0.03)) == (1, 0)
    calcified = case("e", 0, (2, 1, 0, 0.3))
    assert calcified.found(RULE) == (0, 0)
    assert calcified.found(replace(RULE, bone_share=0.2)) == (2, 0)


def test_what_is_allowed_leaves_scans_without_other_blood_alone() -> None:
    found = choose.outcome(RULE, CASES, case("real", 0, (0.5, 0.2, 0)))
    assert (found.dice, found.sensitivity, found.specificity, found.real_ml) == (2 * 6 / (12 + 8), 0.5, 1.0, 0.5)
    assert not found.allowed
    assert choose.outcome(RULE, CASES, None).allowed
    assert not choose.outcome(replace(RULE, sure_ml=0.03), CASES, None).allowed


def test_the_best_rule_has_the_highest_dice_and_the_smallest_area() -> None:
    outcomes = [choose.outcome(rule, CASES, None) for rule in choose.rules()]
    chosen = choose.best(outcomes)
    assert chosen is not None
    assert chosen.rule.area == 0
    assert chosen.dice == max(each.dice for each in outcomes if each.allowed)
    assert choose.best([each for each in outcomes if not each.allowed]) is None
    assert len(choose.table(outcomes)) == 2 + len(choose.AREAS) * len(choose.THRESHOLDS) + 1


def drawn_head() -> ReadyCase:
    """Three slices of a round brain of 30 HU, 144 mm wide."""
    row, column = np.mgrid[:64, :64] - 31.5
    brain = np.repeat((row**2 + column**2 < 24**2)[None], 3, axis=0)
    origins = np.zeros((3, 3))
    origins[:, 2] = 5 * np.arange(3)
    steps = np.array([0.0, 3.0, 0.0]), np.array([3.0, 0.0, 0.0])
    volume = Volume(np.where(brain, 30, -1000).astype(np.float32), origins, *steps, "ct", "a", "a")
    return prepare_volume(volume, [PREPROCESSING], lambda _: brain)


def test_pieces_say_what_segment_keeps() -> None:
    ready, group = drawn_head(), ModelGroup(PREPROCESSING, ())
    shape = ready.prepared[0].images.shape
    shares = np.zeros((shape[0], len(KINDS), *shape[1:]), np.float32)
    rows, columns = (slice(size // 2, size // 2 + size // 8) for size in shape[1:])
    shares[:, 2, rows, columns] = 0.5
    shares[1, 2, rows, columns] = 0.97
    iph = np.zeros(ready.volume.voxels.shape, bool)
    truth = ready.brain.copy()
    truth[0] = False
    found = Case("a", 1.0, choose.pieces_of(shares, ready, group, 0, iph, truth))
    share, _ = on_own_grid(shares, group.preprocessing.pixel_mm, ready, ready.prepared[0].frame)
    grid, none = Grid.of(ready.volume), np.zeros(truth.shape, bool)
    used = Rule(0.0, 0.4, SURE, 1.0, 1.0, choose.BONE_SHARE[0])
    kept = sure_pieces(share >= 0.4, share, none, grid, 1.0)
    assert kept.any()
    assert found.found(used) == pytest.approx((grid.volume_ml(kept), grid.volume_ml(kept & truth)))
    half = Case("a", 1.0, choose.pieces_of(shares, ready, group, 0, iph | (np.arange(64) < 36), truth))
    assert 0 < half.found(used)[0] < found.found(used)[0]


def test_pieces_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Path(find_models(None)[0].path)
    path = choose.pieces_file(tmp_path, weights, "00")
    path.parent.mkdir()
    path.write_text("{}")
    monkeypatch.setattr("ctseg.api.load_for_segment", None)
    choose.look_at("00", None, None, [weights], tmp_path)  # type: ignore[arg-type]
