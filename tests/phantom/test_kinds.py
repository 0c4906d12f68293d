"""Where each kind of bleed lies, and what lies there without being one."""

from __future__ import annotations

import numpy as np
import pytest

from ctseg.phantom.anatomy import make_subject
from ctseg.phantom.bleed_statistics import PartSize
from ctseg.phantom.bleeds import Findings, draw_pathology
from ctseg.phantom.contusion import DEPTH_MM, draw_contusion
from ctseg.phantom.csf_blood import FluidBlood, clear_of, pick_seed
from ctseg.phantom.ct_contrast import draw_brain_hu
from ctseg.phantom.extra_axial import DuralSheet, draw_subdural
from ctseg.phantom.fields import f32, grid_points
from ctseg.phantom.haematoma import LARGEST_ML, draw_haematoma
from ctseg.phantom.landmarks import surface_spot, tentorium_height
from ctseg.phantom.microbleed import draw_microbleed
from ctseg.phantom.template import head_template

pytestmark = pytest.mark.phantom


@pytest.fixture(scope="module")
def template():
    return head_template()


def _tissue(centre, reach: float, step: float = 2.0):
    """Tissue of an unturned head around a template point."""
    subject = make_subject(np.random.default_rng(1), turned=0.0)
    subject.linear, subject.warp = (
        np.eye(3, dtype=np.float32),
        type(subject.warp).of(np.zeros((3, 2, 2, 2)), (-200.0, -200.0, -200.0), 400.0),
    )
    low = tuple(float(c - o - reach) for c, o in zip(centre, (0.0, -18.0, 5.0), strict=True))
    return subject.tissue(grid_points(low, step, (int(2 * reach / step) + 1,) * 3))


def test_surface_spot_lies_at_its_depth(template):
    spot = surface_spot(template, (18.0, 30.0, 4.0), (24.0, 75.0, 2.0), 4.0)
    assert template.surface.at(spot[None, None, None])[0].item() == pytest.approx(-4.0, abs=1.0)


def test_contusions_lie_on_bone_at_the_frontal_and_temporal_poles(template):
    rng = np.random.default_rng(0)
    parts = [draw_contusion(rng, template, PartSize(1.0, 48.0), 1.0) for _ in range(40)]
    centres = np.array([part.shape.centre for part in parts])
    wall = template.surface.at(f32(centres)[None, None])[0].ravel()
    assert (wall > -(DEPTH_MM[1] + 4)).all()
    assert (centres[:, 0] > 0).all()
    frontal = centres[:, 1] > 25
    temporal = (centres[:, 2] < 5) & (centres[:, 1] > -45) & ~frontal
    assert frontal.mean() > 0.25
    assert temporal.mean() > 0.25


def test_contusions_reach_the_bone_and_haematomas_do_not(template):
    rng = np.random.default_rng(3)
    contusion = draw_contusion(rng, template, PartSize(3.0, 48.0), 1.0)
    tissue = _tissue(contusion.shape.centre, 14.0)
    at_bone = (tissue.wall_mm > -2.5) & (tissue.wall_mm < -1.5)
    assert contusion.shape.room(tissue)[at_bone].max() > 0.5
    assert draw_haematoma(rng, PartSize(3.0, 48.0)).shape.room(tissue)[at_bone].max() < 0.5


def test_small_structures_hold_small_bleeds_only():
    rng = np.random.default_rng(0)
    for _ in range(60):
        x, _, z = draw_haematoma(rng, PartSize(45.0, 50.0)).shape.centre
        assert z > -25
        assert abs(x) > 8
    assert max(LARGEST_ML.values()) < 45


def test_microbleeds_keep_off_the_midline():
    rng = np.random.default_rng(0)
    near = ((28.0, 0.0, 0.0), 15.0)
    centres = [draw_microbleed(rng, PartSize(0.1, 45.0), trauma=False, near=near).shape.centre for _ in range(60)]
    assert min(abs(float(c[0])) for c in centres) > 4


def test_blood_on_the_tentorium_lies_above_it():
    centre = f32((30.0, -64.0, 0.0))
    centre[2] = tentorium_height(centre[None])[0] + 1
    sheet = DuralSheet(centre, 14.0, 4.0, falx=False)
    tissue = _tissue(centre, 16.0, 1.0)
    blood = (sheet.score(tissue) > 0) & (sheet.room(tissue) > 0.5)
    above = tissue.template[..., 2] - tentorium_height(tissue.template)
    assert blood.any()
    assert above[blood].min() > 0
    assert above[blood].max() < 5


def test_subdurals_lie_over_the_convexity_on_falx_and_tentorium(template):
    rng = np.random.default_rng(0)
    shapes = [draw_subdural(rng, template, PartSize(0.5, 50.0), 1.0).shape for _ in range(60)]
    falx = [getattr(shape, "falx", None) for shape in shapes]
    assert 3 <= falx.count(True) <= 25
    assert 2 <= falx.count(False) <= 22
    assert falx.count(None) >= 25
    large = [draw_subdural(rng, template, PartSize(60.0, 50.0), 1.0).shape for _ in range(10)]
    assert not any(isinstance(shape, DuralSheet) for shape in large)


def test_blood_in_fluid_begins_where_there_is_room_near_its_spots():
    points = grid_points((-40.0, -90.0, 0.0), 5.0, (17, 17, 3))
    room = np.zeros(points.shape[:3], dtype=np.float32)
    room[:, :, 10:] = 1
    blood = FluidBlood("intraventricular", (), (((20.0, -60.0, 8.0), 15.0),), 0)
    chances = blood.chances(points, room)
    assert not chances[room == 0].any()
    seeds = [pick_seed(np.random.default_rng(n), chances) for n in range(20)]
    at = np.array([points[seed] for seed in seeds])
    assert (at[:, 0] > 5).all()
    assert np.median(np.linalg.norm(at - (20, -60, 8), axis=1)) < 20
    assert pick_seed(np.random.default_rng(0), 0 * chances) is None


def test_parts_of_a_kind_keep_apart():
    mask = np.zeros((5, 20, 20), dtype=bool)
    mask[2, 10, 10] = True
    free = clear_of(mask)
    assert not free[1:4, 10, 10].any()
    assert not free[2, 10, 11]
    assert not free[2, 13, 10]
    assert free[0].all()
    assert free[2, 0, 0]


def test_after_trauma_the_brain_is_bruised_and_nobody_else_is(template):
    sizes = {"intraparenchymal": [PartSize(8.0, 50.0), PartSize(2.0, 45.0), PartSize(0.4, 42.0)]}
    kinds = {}
    for trauma in (True, False):
        findings = Findings(iph=True, trauma=trauma)
        pathology = draw_pathology(np.random.default_rng(2), template, findings, sizes, 0.5)
        kinds[trauma] = [type(part.shape).__name__ for part in pathology.parts]
    assert kinds[True][:2] == ["Contusion", "Contusion"]
    assert "Contusion" not in kinds[False]


def test_old_brains_are_darker_and_contrast_stays_in_its_range():
    rng = np.random.default_rng(0)
    young, old = ([draw_brain_hu(rng, age, 0.0) for _ in range(200)] for age in (0.1, 0.9))
    assert np.mean([b.white for b in young]) > np.mean([b.white for b in old]) + 2
    assert all(3.99 < b.grey - b.white < 9.01 for b in young + old)


def test_calibration_leaves_air_and_shifts_water():
    brain = draw_brain_hu(np.random.default_rng(0), 0.5, 1.0)
    shifted = brain.calibrated(f32([-1000, 0, 1000]))
    assert shifted == pytest.approx([-1000, 2.5, 1005], abs=0.01)


@pytest.mark.slow
def test_every_head_has_distractors_and_calcium_is_found_near_it_only(template):
    pathology = draw_pathology(np.random.default_rng(5), template, Findings(), {}, 0.9)
    distractors = pathology.distractors
    assert 46 <= distractors.sinus_hu <= 74
    assert distractors.calcifications
    spot = distractors.calcifications[0]
    near, far = _tissue(spot.centre, 8.0, 1.0), _tissue((0.0, 0.0, -70.0), 4.0)
    assert spot.cover(near).max() > 0.5
    assert spot.cover(far) is None
