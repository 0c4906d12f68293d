"""What the default model marks in a real head without a bleed, which is changed as heads, scanners and surgeons do.

`python tests/benchmarks/real_head_variants.py SCAN [MODEL]` prints Markdown: every mL is a false one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.api import find_models, load_for_segment
from ctseg.inference.models import ModelGroup
from ctseg.inference.predict import predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.inference.skull_base import lowest_ml
from ctseg.inference.stripped_rim import rim_ml
from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.brain_network import BrainNetworkExtractor

AIR, SCALP, BONE = -1000.0, 30.0, 150.0
Voxels = NDArray[np.float32]


def turned(degrees: float) -> Callable[[Volume], Volume]:
    """In the slices' plane."""
    return lambda volume: _with(
        volume, ndimage.rotate(volume.voxels, degrees, (1, 2), reshape=False, order=1, cval=AIR)
    )


def scaled(factor: float) -> Callable[[Volume], Volume]:
    """A larger or smaller head: the pixels' size changes, and the slice step with it."""

    def changed(volume: Volume) -> Volume:
        return replace(
            volume, row_step_mm=volume.row_step_mm * factor, col_step_mm=volume.col_step_mm * factor,
            origins_mm=volume.origins_mm * factor, native=None, frames=(), labels=None,
        )  # fmt: skip

    return changed


def noisier(hu: float, sigma: float) -> Callable[[Volume], Volume]:
    """Noise of a grain of `sigma` pixels is added."""

    def changed(volume: Volume) -> Volume:
        grain = np.random.default_rng(0).standard_normal(volume.voxels.shape).astype(np.float32)
        grain = ndimage.gaussian_filter(grain, (0, sigma, sigma)) if sigma else grain
        return _with(volume, volume.voxels + hu * grain / grain.std())

    return changed


def smoothed(mm: float, gain: float) -> Callable[[Volume], Volume]:
    """A Gaussian of `mm` away (`gain` -1), or what it takes away added once more (`gain` above 0)."""

    def changed(volume: Volume) -> Volume:
        sigma = mm / float(np.linalg.norm(volume.row_step_mm))
        smooth = ndimage.gaussian_filter(volume.voxels, (0, sigma, sigma))
        return _with(volume, volume.voxels + gain * (volume.voxels - smooth))

    return changed


def in_hu(change: Callable[[Voxels], Voxels]) -> Callable[[Volume], Volume]:
    """Another calibration."""
    return lambda volume: _with(volume, change(volume.voxels))


def thicker(volume: Volume) -> Volume:
    """Pairs of slices as one."""
    count = len(volume.voxels) // 2 * 2
    mean = volume.voxels[:count].reshape(-1, 2, *volume.voxels.shape[1:]).mean(axis=1)
    middle = volume.origins_mm[:count].reshape(-1, 2, 3).mean(axis=1)
    return replace(_with(volume, mean), origins_mm=middle, slice_ids=(), slice_keys=())


def craniectomy(rows: slice, cols: slice) -> Callable[[Volume], Volume]:
    """The vault of the upper half's slices within these rows and columns becomes soft tissue."""

    def changed(volume: Volume) -> Volume:
        voxels = volume.voxels.copy()
        part = voxels[len(voxels) // 2 :, rows, cols]
        bone = ndimage.binary_dilation(part > BONE, np.ones((1, 5, 5), bool))
        part[bone] = SCALP + np.random.default_rng(0).normal(0, 5, int(bone.sum()))
        return _with(volume, voxels)

    return changed


def cut_off(rows: slice, cols: slice) -> Callable[[Volume], Volume]:
    """The field of view leaves these rows and columns out; the scanner writes -1500 there."""

    def changed(volume: Volume) -> Volume:
        voxels = volume.voxels.copy()
        voxels[:, rows, cols] = -1500
        return _with(volume, voxels)

    return changed


def posed(
    nod: float = 0.0, lean: float = 0.0, step_mm: float = 5.0, pixel_mm: float = 0.75, order: int = 1
) -> Callable[[Volume], Volume]:
    """The head nods and leans by so many degrees, on slices without a tilt; an order of 3 is a spline."""
    field_mm = 240.0, 300.0

    def changed(volume: Volume) -> Volume:
        axes = _turned(nod, 0) @ _turned(lean, 1) * np.array([pixel_mm, pixel_mm, step_mm])
        counts = [round(field_mm[1] / pixel_mm)] * 2 + [round(field_mm[0] / step_mm)]
        middle = (
            volume.origins_mm.mean(axis=0)
            + (volume.row_step_mm * volume.voxels.shape[1] + volume.col_step_mm * volume.voxels.shape[2]) / 2
        )
        first = middle - axes @ (np.array(counts) / 2)
        places = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1) @ axes.T + first
        found = ndimage.map_coordinates(volume.voxels, _indices(volume, places), order=order, cval=AIR)
        return replace(
            _with(volume, found.transpose(2, 1, 0)), origins_mm=first + np.arange(counts[2])[:, None] * axes[:, 2],
            row_step_mm=axes[:, 1], col_step_mm=axes[:, 0], slice_ids=(), slice_keys=(),
        )  # fmt: skip

    return changed


def between(order: int) -> Callable[[Volume], Volume]:
    """Five slices of 1 mm for each of 5 mm, as tools do that want cubes: linear or a spline."""

    def changed(volume: Volume) -> Volume:
        straight = posed()(volume)
        count = 5 * (len(straight.voxels) - 1) + 1
        made = ndimage.zoom(straight.voxels, (count / len(straight.voxels), 1, 1), order=order, mode="nearest")
        places = np.linspace(straight.origins_mm[0], straight.origins_mm[-1], count)
        return replace(_with(straight, made), origins_mm=places)

    return changed


def stripped(pixel_mm: float | None = None) -> Callable[[Volume], Volume]:
    """0 outside of ctseg's own brain mask, then wider pixels, as tools for templates and networks make them."""

    def changed(volume: Volume) -> Volume:
        bare = np.where(BrainNetworkExtractor()(volume), volume.voxels, 0)
        if pixel_mm is None:
            return _with(volume, bare)
        share = volume.spacing_mm[0] / pixel_mm
        smooth = ndimage.gaussian_filter(bare, (0, 0.4 / share, 0.4 / share))
        made = ndimage.zoom(smooth, (1, share, share), order=1, grid_mode=True, mode="nearest")
        shares = volume.voxels.shape[1] / made.shape[1], volume.voxels.shape[2] / made.shape[2]
        steps = volume.row_step_mm * shares[0], volume.col_step_mm * shares[1]
        return replace(_with(volume, made), row_step_mm=steps[0], col_step_mm=steps[1])

    return changed


def _turned(degrees: float, axis: int) -> NDArray[np.float64]:
    """(3, 3) a rotation about a patient axis."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    one, other = ((1, 2), (0, 2))[axis]
    matrix[[one, other, one, other], [one, other, other, one]] = cos, cos, -sin, sin
    return matrix


def _indices(volume: Volume, places: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Slice, row and column of places (..., 3) in mm; outside the scan the slice is far off."""
    steps = np.stack([volume.row_step_mm, volume.col_step_mm], axis=1)
    normal = np.cross(volume.col_step_mm, volume.row_step_mm)
    heights, numbers = volume.origins_mm @ normal, np.arange(len(volume.origins_mm))
    order = np.argsort(heights)
    slices = np.interp(places @ normal, heights[order], numbers[order], left=-9, right=-9)
    origin = np.stack([np.interp(slices, numbers, volume.origins_mm[:, axis]) for axis in range(3)], axis=-1)
    within = (places - origin) @ np.linalg.pinv(steps).T
    return [slices, within[..., 0], within[..., 1]]


VARIANTS: dict[str, Callable[[Volume], Volume]] = {
    "as it is": lambda volume: volume,
    **{f"turned by {degrees} degrees": turned(degrees) for degrees in (-10, -5, 5, 10)},
    "left and right exchanged": lambda volume: _with(volume, volume.voxels[:, :, ::-1]),
    "shifted by 2 and 3 pixels": lambda volume: _with(
        volume, ndimage.shift(volume.voxels, (0, 2, 3), order=1, cval=AIR)
    ),
    **{f"{factor:g} times as large": scaled(factor) for factor in (0.93, 1.07)},
    **{f"noise of {hu:g} HU": noisier(hu, 0.7) for hu in (3, 6)},
    "coarse noise of 3 HU": noisier(3, 1.5),
    "blur of 0.7 mm": smoothed(0.7, -1.0),
    "blur of 1.2 mm": smoothed(1.2, -1.0),
    "sharper": smoothed(0.7, 1.0),
    **{f"{hu:+d} HU": in_hu(lambda voxels, hu=hu: np.where(voxels > -500, voxels + hu, voxels)) for hu in (-5, 5)},  # type: ignore[misc]
    **{f"HU times {factor:g}": in_hu(lambda voxels, factor=factor: voxels * factor) for factor in (0.9, 1.1)},  # type: ignore[misc]
    "pairs of slices as one": thicker,
    "12.5 cm of the left vault missing": craniectomy(slice(128, 384), slice(256, None)),
    "12.5 cm of the right vault missing": craniectomy(slice(128, 384), slice(0, 256)),
    "occiput outside the picture": cut_off(slice(400, None), slice(None)),
    "left side outside the picture": cut_off(slice(None), slice(0, 120)),
    **{f"head nods by {degrees:+d} degrees": posed(nod=degrees) for degrees in (-30, -15, 0, 15, 30)},
    "0 to 80 HU alone": in_hu(lambda voxels: np.clip(voxels, 0, 80)),
    "slices of 1 mm, linear": between(1),
    "slices of 1 mm, spline": between(3),
    "registered, 1 mm, linear": posed(12, 5, 1, 1),
    "registered, 1 mm, spline": posed(12, 5, 1, 1, 3),
    "registered, 5 mm, spline": posed(12, 5, 5, 1, 3),
    **{f"head leans by {degrees:+d} degrees": posed(lean=degrees) for degrees in (-20, 20)},
    "stripped": stripped(),
    **{f"stripped, then pixels of {mm:g} mm": stripped(mm) for mm in (1.0, 1.6, 2.0)},
}  # fmt: skip


def _with(volume: Volume, voxels: NDArray[np.float32]) -> Volume:
    return replace(volume, voxels=np.ascontiguousarray(voxels, dtype=np.float32), native=None, frames=(), labels=None)


def measured(volume: Volume, groups: list[ModelGroup], extractor: BrainExtractor) -> str:
    """A row: mL with mirror images and without, brain, flags."""
    found = predict_volume(volume, groups, SegmentSettings(), extractor)
    alone = predict_volume(volume, groups, SegmentSettings(tta=False), extractor)
    flags = "; ".join(found.ood) or "none"
    low = lowest_ml(found.mask, found.brain, volume)
    rim = rim_ml(found.mask, found.brain, volume)
    return f"{found.measures.ml:.2f} | {alone.measures.ml:.2f} | {low:.2f} | {rim:.2f} | {found.brain_ml:.0f} | {flags}"


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    groups, extractor = load_for_segment(find_models(sys.argv[2] if len(sys.argv) > 2 else None), "cpu")
    [case] = discover([Path(sys.argv[1])]).cases
    volume = read_case(case)
    columns = ("the head", "mL", "with `--no-tta`", "at the foramen magnum", "at the rim", "brain, mL", "flags")
    sys.stdout.write(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    for name, change in VARIANTS.items():
        sys.stdout.write(f"| {name} | {measured(change(volume), groups, extractor)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
