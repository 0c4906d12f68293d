"""Phantom heads scanned in more ways than the cohort's: lower, tilted, in thin and thick slices; and means of heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ctseg.io.volume import Volume
from ctseg.phantom.anatomy import Subject, make_subject
from ctseg.phantom.bleed_statistics import Turn
from ctseg.phantom.bleeds import KINDS, Findings, draw_pathology, draw_sizes, widening_mm
from ctseg.phantom.cohort import TRAIN_MIX
from ctseg.phantom.ct_contrast import HeadCt, draw_calibration, make_head
from ctseg.phantom.ct_scan import scan
from ctseg.phantom.ct_series import Geometry, draw_protocol, plan_slices
from ctseg.phantom.fields import Floats
from ctseg_reproduce.brain_model.heads import HeadSlices, above_canal, head_slices, kept_share, rounded

DOMAIN = 11
"""Part of every seed, so that no head occurs in a cohort of the same seed."""
MATRIX = 256
STEP_MM = (2.6, 9.0)
TILT_DEG = (-16.0, 26.0)
BELOW_MM = 38.0
"""Most that a scan begins below the foramen magnum."""


def wide_head(seed: int, number: int) -> HeadSlices:
    """One head with any bleed, as another scanner and another table would show it."""
    streams = np.random.SeedSequence((seed, DOMAIN, number)).spawn(5)
    anatomy, lesions, protocol_rng, scanner, rng = (np.random.default_rng(s) for s in streams)
    head, subject = _head(anatomy, lesions, protocol_rng, TRAIN_MIX[number % len(TRAIN_MIX)], rng.uniform(0.6, 1.6))
    step = float(np.exp(rng.uniform(*np.log(STEP_MM))))
    protocol = draw_protocol(protocol_rng, number, step, MATRIX)
    tilt = float(rng.uniform(*TILT_DEG)) if rng.random() < 0.7 else 0.0
    protocol = replace(protocol, tilt_deg=tilt, step_mm=step, base_step_mm=step)
    geometry = _lower(plan_slices(subject, protocol, MATRIX), float(rng.uniform(0, BELOW_MM)), step)
    hu, covers = scan(scanner, head, geometry, protocol)
    return head_slices(_volume(geometry, hu), covers["brain"])


def _head(
    anatomy: np.random.Generator,
    lesions: np.random.Generator,
    scanner: np.random.Generator,
    findings: Findings,
    turned: float,
) -> tuple[HeadCt, Subject]:
    calibration = draw_calibration(scanner)
    turns = {
        kind: Turn(int(lesions.integers(1000)), (float(a), float(b), float(c)), False)
        for kind, (a, b, c) in zip(KINDS, lesions.random((len(KINDS), 3)), strict=True)
    }
    sizes = draw_sizes(findings, turns, calibration)
    subject = make_subject(anatomy, turned, widening_mm(sizes))
    pathology = draw_pathology(lesions, subject.template, findings, sizes, subject.traits.age)
    pathology.settle(subject)
    return make_head(lesions, subject, pathology, calibration), subject


def _lower(geometry: Geometry, more_mm: float, step_mm: float) -> Geometry:
    """The same series with slices below it."""
    steps = np.arange(int(more_mm / step_mm), 0, -1)
    below = geometry.origins[0] - steps[:, None] * np.array([0.0, 0.0, step_mm])
    origins = np.concatenate([below, geometry.origins])
    return replace(geometry, origins=origins, thickness=np.full(len(origins), step_mm))


def _volume(geometry: Geometry, hu: Floats) -> Volume:
    flip = np.array([-1.0, -1.0, 1.0])
    return Volume(
        voxels=hu.astype(np.float32),
        origins_mm=geometry.origins * flip,
        row_step_mm=geometry.down * flip * geometry.pixel_mm,
        col_step_mm=geometry.right_to_left * flip * geometry.pixel_mm,
        domain="ct",
        case_id="wide",
        patient_id="wide",
    )


def mean_head(seed: int, number: int, heads: int) -> tuple[Floats, Floats]:
    """The mean HU of several heads without bleeds that lie alike, and the share of them that has brain in each voxel.

    Both are (K, h, w) at 2 mm, lowest first.

    It is to a phantom head what a CT template is to a patient's: blurred where heads differ.
    """
    total: Floats | None = None
    for each in range(heads):
        streams = np.random.SeedSequence((seed, DOMAIN + 1, number, each)).spawn(3)
        anatomy, lesions, scanner = (np.random.default_rng(s) for s in streams)
        subject = make_subject(anatomy, 0.1)
        healthy = draw_pathology(lesions, subject.template, Findings(), {}, subject.traits.age)
        one = make_head(lesions, subject, healthy, draw_calibration(scanner))
        found = np.stack(_sampled(one), axis=0)
        total = found if total is None else total + found
    assert total is not None  # noqa: S101 - heads is at least 1
    hu, share = total / heads
    return hu, share


def mean_slices(seed: int, number: int, heads: int) -> HeadSlices:
    """A mean of heads as `mean_head` gives it, with the share of brain as it is."""
    hu, share = mean_head(seed, number, heads)
    share = above_canal(share, 4.0)
    heights = np.arange(len(hu), dtype=np.float64) * 2
    return HeadSlices(rounded(hu), kept_share(share), heights)


def _sampled(head: HeadCt) -> tuple[Floats, Floats]:
    """HU and share of brain of a head on 2 mm, face up, right to left, as `plan_slices` lays slices."""
    hu, share = [], []
    x, y = np.arange(90.0, -91.0, -2.0), np.arange(100.0, -121.0, -2.0)
    for z in np.arange(-76.0, 106.0, 2.0):
        points = np.empty((1, len(y), len(x), 3), dtype=np.float32)
        points[0, ..., 0], points[0, ..., 1], points[0, ..., 2] = x[None, :], y[:, None], z
        slab, _ = head.slab(points)
        hu.append(head.brain.calibrated(slab.hu.mean(axis=0)))
        share.append(slab.brain.mean(axis=0))
    return np.stack(hu).astype(np.float32), np.stack(share).astype(np.float32)
