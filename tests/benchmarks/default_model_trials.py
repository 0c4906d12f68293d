"""Further training data of the default model, as tried in its docs ("Trials against the real head").

    python tests/benchmarks/default_model_trials.py heads heads --template ../shared/data/ct-template
    ctseg preprocess heads/scans --masks heads/masks --domain ct --size 144 --fov 216 \\
        --set brain_hu=31 --set implants=4 -o sets/template
    python tests/benchmarks/default_model_trials.py paint sets/pseudo-ct sets/painted --times 2
    python tests/benchmarks/default_model_trials.py mix sets/three sets/ct sets/template:2 sets/painted

`heads` makes heads without a lesion from two real CT templates: turned as a gantry or a patient is, stretched, bent,
averaged over slices of 4 to 7.5 mm, with the noise of a scanner. `paint` fills the lesions of pseudo-CT with blood.
`mix` makes one slice set of several, each so many times.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.augment.synthetic_haemorrhage import BloodAppearance, SyntheticHaemorrhage
from ctseg.networks.intensity import to_images, to_masks, to_uint8

Floats = NDArray[np.floating[Any]]
HEAD, ATLAS = "scct_hu_2mm.nii.gz", "ct_brain_atlas_1mm.nii.gz"
SEED = 7
PIXEL_MM, SIZE, SPAN_MM = 0.9, 250, 190.0
STEPS_MM = (4.0, 5.0, 5.0, 6.0, 7.5)
PITCH_DEG, TURN_DEG = (-12.0, 22.0), 6.0
"""Gantries are tilted by up to 25 degrees; heads roll and turn by a little."""
SCALE, STRETCH, BEND_MM = (0.93, 1.08), 0.03, 3.0
NOISE_HU, KERNEL_LP_CM = (2.6, 4.2), (2.9, 4.6)
"""At 5 mm, as in `ctseg.phantom.ct_physics`, where the sources are."""
BLOOD = BloodAppearance(hu=(38.0, 67.0), oedema_hu=(-8.0, 0.0))
"""Mean HU of drawn IPH from 1 mL on (5 to 95 %: 38 to 60), and fresh clot above it."""
NAMES = ("slice_id", "patient_id", "series_id", "case_id")


def template(path: Path) -> tuple[Floats, float]:
    """HU (x, y, z) and the voxel's side in mm."""
    image = nib.as_closest_canonical(nib.load(path))
    return np.asarray(image.dataobj).astype("f4"), float(image.header.get_zooms()[0])


def kernel_noise(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Floats:
    """Noise (K, h, w) of a deviation in HU with the spectrum of a soft kernel."""
    rows = scipy.fft.fftfreq(shape[1], PIXEL_MM / 10)[:, None]
    radius = np.hypot(rows, scipy.fft.rfftfreq(shape[2], PIXEL_MM / 10)[None])
    gain = np.sqrt(radius) * np.exp(-0.5 * (radius / rng.uniform(*KERNEL_LP_CM)) ** 2)
    noise = scipy.fft.irfft2(scipy.fft.rfft2(rng.standard_normal(shape)) * gain, s=shape[1:])
    return (noise / noise.std() * deviation).astype("f4")


def rotation(degrees: Floats) -> Floats:
    """About x, then y, then z."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return about_x @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])


def posed(rng: np.random.Generator, source: Floats, mm: float, step: float, outside: float) -> tuple[Floats, Floats]:
    """A template as slices (K, h, w) with steps of `step` mm, and their places in mm.

    Each slice is the mean of three planes, which share bone and brain as a slice of that thickness does.
    """
    degrees = np.array([rng.uniform(*PITCH_DEG), rng.uniform(-TURN_DEG, TURN_DEG), rng.uniform(-TURN_DEG, TURN_DEG)])
    scale = rng.uniform(*SCALE) * np.exp(rng.normal(0, STRETCH, 3))
    turn, count = rotation(degrees), int(np.ceil(SPAN_MM / step))
    x = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    z = (np.arange(count) - (count - 1) / 2) * step
    bend = rng.standard_normal((3, 6, 6, 6)) * rng.uniform(0, BEND_MM)
    up, down, right = np.meshgrid(z, x, x, indexing="ij")
    points = np.stack([right, down, up]).reshape(3, -1)
    knots = (points.astype("f4") / 125 + 1) / 2 * 5
    points = points + np.stack(
        [ndimage.map_coordinates(part.astype("f4"), knots, order=1, mode="nearest", output="f4") for part in bend]
    )
    middle = (np.array(source.shape) - 1)[:, None] / 2
    places, along = (turn @ points) / scale[:, None] / mm + middle, turn[:, 2:] / scale[:, None] / mm
    planes = [
        ndimage.map_coordinates(
            source, places + along * part / 3 * step, order=1, mode="constant", cval=outside, output="f4"
        )
        for part in (-1, 0, 1)
    ]
    return (sum(planes) / 3).reshape(count, SIZE, SIZE), np.array([x[0], x[0], z[0]])


def make_head(templates: Path, number: int, out: Path) -> None:
    """Two heads in three are the whole head, every other of these sharpened; one is the stripped atlas."""
    rng = np.random.default_rng((SEED, number))
    stripped = number % 3 == 2
    source, mm = template(templates / (ATLAS if stripped else HEAD))
    if not stripped and number % 2:
        source = source + np.float32(rng.uniform(0.5, 2.0)) * (source - ndimage.gaussian_filter(source, 1.5))
    step = float(rng.choice(STEPS_MM))
    slices, corner = posed(rng, source, mm, step, 0.0 if stripped else -1000.0)
    noise = kernel_noise(rng, slices.shape, rng.uniform(*NOISE_HU) * np.sqrt(5 / step))
    slices = np.where(slices > 1, slices + noise, 0) if stripped else slices + noise
    affine = np.diag([PIXEL_MM, PIXEL_MM, step, 1.0])
    affine[:3, 3] = corner
    voxels = np.round(slices.transpose(2, 1, 0)).clip(-1024, 3000).astype("i2")
    name = f"{'atlas' if stripped else 'head'}{number:03d}.nii.gz"
    for folder, data in (("scans", voxels), ("masks", np.zeros(voxels.shape, "u1"))):
        (out / folder).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data, affine), out / folder / name)


def read(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8], pd.DataFrame]:
    """Images, masks and rows of a slice set."""
    table = pd.read_csv(folder / "slices.csv", dtype=str, keep_default_na=False)
    return np.load(folder / "images.npy"), np.load(folder / "masks.npy"), table


def renamed(table: pd.DataFrame, ending: str) -> pd.DataFrame:
    """Rows of the training split, under other names."""
    return table.assign(split="train", **{name: table[name] + ending for name in NAMES})


def centred(images: NDArray[np.uint8], masks: NDArray[np.uint8], patients: pd.Series[str]) -> NDArray[np.uint8]:
    """Images whose median brain is 31 HU in each patient, as `brain_hu=31` makes it."""
    images = images.copy()
    for patient in patients.unique():
        rows = np.flatnonzero(patients == patient)
        part = images[rows].astype(np.int16)
        inside = (part > 0) & (masks[rows] == 0)
        shift = round(31 * 2.55 - float(np.median(part[inside]))) if inside.any() else 0
        images[rows] = np.where(part > 0, np.clip(part + shift, 1, 255), 0)
    return images


def paint(source: Path, out: Path, times: int) -> None:
    """Fill the lesions of pseudo-CT with blood; slices whose lesion cannot be painted are left out."""
    images, masks, table = read(source)
    images = centred(images, masks, table["patient_id"])
    found = []
    for number in range(times):
        rng, new, labels = np.random.default_rng([11, number]), images.copy(), np.zeros_like(masks)
        for start in range(0, len(images), 64):
            rows = slice(start, start + 64)
            drawn = SyntheticHaemorrhage.draw(rng, len(images[rows]), 1.0, BLOOD)
            painted, cores = drawn.paint(to_images(images[rows]), to_masks(masks[rows]))
            new[rows], labels[rows] = np.asarray(to_uint8(painted)).reshape(images[rows].shape), cores[:, 0].numpy()
        kept = ~(masks > 0).any(axis=(1, 2)) | labels.any(axis=(1, 2))
        found.append((new[kept], labels[kept], renamed(table[kept], f"_p{number}")))
    write(out, found, source)


def mix(out: Path, parts: list[tuple[Path, int]]) -> None:
    """Join slice sets, each so many times; settings and greys are those of the first."""
    found = []
    for folder, times in parts:
        images, masks, table = read(folder)
        found += [(images, masks, renamed(table, f"_{number}" if number else "")) for number in range(times)]
    write(out, found, parts[0][0])


def write(out: Path, parts: list[tuple[Any, Any, pd.DataFrame]], like: Path) -> None:
    """A slice set of images, masks and rows."""
    images, masks = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    table = pd.concat([part[2] for part in parts], ignore_index=True)
    out.mkdir(parents=True)
    np.save(out / "images.npy", images)
    np.save(out / "masks.npy", masks)
    table.to_csv(out / "slices.csv", index=False)
    info = json.loads((like / "dataset.json").read_text(encoding="utf-8"))
    patients, series = (int(table[name].nunique()) for name in ("patient_id", "series_id"))
    lesions = int((masks > 0).any(axis=(1, 2)).sum())
    info["counts"] = {"slices": len(table), "patients": patients, "series": series, "slices_with_lesion": lesions}
    info["counts"]["splits"] = {"train": len(table)}
    info["cases"] = series
    (out / "dataset.json").write_text(json.dumps(info), encoding="utf-8")
    sys.stdout.write(f"{len(table)} slices, {lesions} with a lesion -> {out}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    heads = commands.add_parser("heads")
    heads.add_argument("--template", type=Path, required=True)
    heads.add_argument("--first", type=int, default=0)
    heads.add_argument("--last", type=int, default=36)
    painted = commands.add_parser("paint")
    painted.add_argument("source", type=Path)
    painted.add_argument("--times", type=int, default=2)
    mixed = commands.add_parser("mix")
    for command in (heads, painted, mixed):
        command.add_argument("out", type=Path)
    mixed.add_argument("sets", nargs="+", help="FOLDER or FOLDER:TIMES")
    options = parser.parse_args()
    if options.command == "heads":
        for number in range(options.first, options.last):
            make_head(options.template, number, options.out)
    elif options.command == "paint":
        paint(options.source, options.out, options.times)
    else:
        pairs = [(text.partition(":")[0], int(text.partition(":")[2] or 1)) for text in options.sets]
        mix(options.out, [(Path(folder), times) for folder, times in pairs])


if __name__ == "__main__":
    main()
