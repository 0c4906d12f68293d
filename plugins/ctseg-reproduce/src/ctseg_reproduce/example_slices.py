"""The test slices that a table's figure shows, chosen by truth and names, and stored so that they are read once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.errors import CtsegError
from ctseg.evaluation.cases import masks_in
from ctseg.evaluation.grids import read_mask
from ctseg.files import write_with
from ctseg.io.discover import Case, discover, read_case
from ctseg.io.identity import patient_of
from ctseg.io.stack import Grid
from ctseg.io.volume import Volume
from ctseg.render.slices import WINDOW_HU, side_letters, window_hu

POSITIVE, NEGATIVE = 4, 1
"""Patients shown with a haemorrhage, and without."""
HEAD_HU, MARGIN_MM = -200.0, 6.0
"""What is denser than this belongs to the head; air left around it."""
CACHE = Path("figures") / "test-slices.npz"
Progress = Callable[[int, int, str], object]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Choice:
    """A case and its slice, chosen before any result was looked at."""

    case: str
    index: int
    """Place in the scan's canonical order, from 0."""
    shape: tuple[int, int, int]
    ml: float
    """Volume of the true haemorrhage."""


@dataclass(frozen=True)
class ExampleSlice:
    """A chosen slice, read."""

    choice: Choice
    image: NDArray[np.uint8] | None
    """(h, w) in the brain window, cut to the head; None if it could not be read."""
    truth: NDArray[np.bool_] | None = None
    """(h, w)"""
    box: Box = (0, 0, 0, 0)
    """First and last row, first and last column (both ends exclusive) of the head in the scan."""
    spacing_mm: tuple[float, float] = (1.0, 1.0)
    sides: tuple[str, str] = ("", "")
    why: str = ""
    """The reason where it could not be read."""

    def cut(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The part of a (K, H, W) mask of the case that is shown."""
        top, bottom, left, right = self.box
        return mask[self.choice.index, top:bottom, left:right]


def read_examples(root: Path, test: Path, truth: Path, progress: Progress = lambda *_: None) -> list[ExampleSlice]:
    """The chosen slices of the test scans; read at the first call, and stored in `ROOT/figures` for the others.

    Args:
        root: the reproduction's folder.
        test: the test scans, as `ctseg segment` takes them.
        truth: their masks, `CASE.nii.gz`.
        progress: is called with (done, total, case).

    Raises:
        CtsegError: if there is no truth, or no scan at all.
    """
    path, key = root / CACHE, _key(test, truth)
    stored = _load(path, key)
    if stored is not None:
        return stored
    choices = choose(masks_in(truth))
    cases = {case.case_id: case for case in discover(test, "ct").cases}
    examples = []
    for place, choice in enumerate(choices):
        progress(place, len(choices), choice.case)
        examples.append(_read(choice, cases.get(choice.case), truth))
    progress(len(choices), len(choices), "")
    if all(item.image is not None for item in examples):
        _save(path, key, examples)
    return examples


def choose(truths: dict[str, Path]) -> list[Choice]:
    """The first patients in name order with a haemorrhage, each with its largest slice, and the first without one.

    The patient without a haemorrhage is shown in the middle of the scan. A patient with several series is shown once.
    """
    positive: list[Choice] = []
    negative: list[Choice] = []
    seen: set[str] = set()
    for case in sorted(truths):
        if len(positive) >= POSITIVE and len(negative) >= NEGATIVE:
            break
        patient = patient_of(case) or case
        if patient not in seen:
            seen.add(patient)
            choice = _choice(case, truths[case])
            (positive if choice.ml else negative).append(choice)
    return [*positive[:POSITIVE], *negative[:NEGATIVE]]


def _choice(case: str, path: Path) -> Choice:
    truth = read_mask(path)
    area = np.count_nonzero(truth.mask, axis=(1, 2))
    index = int(area.argmax()) if area.any() else len(area) // 2
    levels, rows, columns = truth.mask.shape
    return Choice(case, index, (levels, rows, columns), round(Grid.of(truth.volume).volume_ml(truth.mask), 2))


def _read(choice: Choice, case: Case | None, truth: Path) -> ExampleSlice:
    if case is None:
        return ExampleSlice(choice, None, why=f"{choice.case}: no such scan among the test scans")
    try:
        volume = read_case(case)
    except (CtsegError, OSError) as error:
        return ExampleSlice(choice, None, why=str(error))
    if volume.voxels.shape != choice.shape:
        return ExampleSlice(choice, None, why=f"{choice.case}: the truth is on another grid than the scan")
    return _cut(choice, volume, read_mask(masks_in(truth)[choice.case]).mask)


def _cut(choice: Choice, volume: Volume, truth: NDArray[np.bool_]) -> ExampleSlice:
    box = head_box(volume.voxels[choice.index], volume.spacing_mm)
    top, bottom, left, right = box
    image = window_hu(volume.voxels[choice.index, top:bottom, left:right])
    part = truth[choice.index, top:bottom, left:right]
    return ExampleSlice(choice, image, part, box, volume.spacing_mm, side_letters(volume))


def head_box(plane: NDArray[np.float32], spacing_mm: tuple[float, float]) -> Box:
    """Where the head is in a (H, W) slice in HU: the largest connected part, so not the table."""
    parts, count = ndimage.label(plane > HEAD_HU)
    if not count:
        return 0, plane.shape[0], 0, plane.shape[1]
    largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(parts)[largest - 1]
    row, column = (round(MARGIN_MM / spacing) for spacing in spacing_mm)
    return (
        max(0, rows.start - row), min(plane.shape[0], rows.stop + row),
        max(0, columns.start - column), min(plane.shape[1], columns.stop + column),
    )  # fmt: skip


def _key(test: Path, truth: Path) -> str:
    """A digest of what the choice rests on; where the cohort is made again, its truth has other times."""
    files = [(case, path.stat().st_size, path.stat().st_mtime_ns) for case, path in sorted(masks_in(truth).items())]
    return sha256(json.dumps([str(test), files, POSITIVE, NEGATIVE, WINDOW_HU]).encode()).hexdigest()


def _save(path: Path, key: str, examples: Sequence[ExampleSlice]) -> None:
    arrays: dict[str, Any] = {f"image{place}": item.image for place, item in enumerate(examples)}
    arrays |= {f"truth{place}": item.truth for place, item in enumerate(examples)}
    facts = [
        {"choice": asdict(item.choice), "box": item.box, "spacing_mm": item.spacing_mm, "sides": item.sides}
        for item in examples
    ]
    text = np.array(json.dumps({"key": key, "slices": facts}))
    write_with(path, lambda temporary: np.savez_compressed(temporary, facts=text, **arrays))


def _load(path: Path, key: str) -> list[ExampleSlice] | None:
    """What was stored; None where there is nothing, or it is of other data or broken."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            known = json.loads(str(stored["facts"]))
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError):
        return None
    if known.get("key") != key:
        return None
    return [
        _example(facts, arrays[f"image{place}"], arrays[f"truth{place}"]) for place, facts in enumerate(known["slices"])
    ]


def _example(facts: dict[str, Any], image: NDArray[np.uint8], truth: NDArray[np.bool_]) -> ExampleSlice:
    levels, rows, columns = facts["choice"].pop("shape")
    choice = Choice(**facts["choice"], shape=(levels, rows, columns))
    top, bottom, left, right = facts["box"]
    (row, column), (first, last) = facts["spacing_mm"], facts["sides"]
    return ExampleSlice(choice, image, truth, (top, bottom, left, right), (row, column), (first, last))
