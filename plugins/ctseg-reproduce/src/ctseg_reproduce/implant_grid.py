"""Haematomas in a real head: a seeded grid of places, volumes, HU and oedema put into scans without a bleed.

What comes back is measured place by place. A scan that holds no bleed of its own is needed, since whatever a model
segments on it as it is counts as false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ctseg.errors import CaseError, InputError
from ctseg.files import read_json, write_json
from ctseg.harmless import one_line
from ctseg.implant.head import Head
from ctseg.implant.lay import VOLUME, Implant, implant_at
from ctseg.implant.places import Place, Places
from ctseg.implant.wanted import Kind, Wanted
from ctseg.inference.models import ModelGroup
from ctseg.inference.predict import predict_ready
from ctseg.inference.prepare import ReadyCase
from ctseg.inference.recovery import Found, measure_implants
from ctseg.inference.settings import SegmentSettings
from ctseg.io.case import Case
from ctseg.io.stack import Grid
from ctseg.outputs.changed import look

SCHEMA = "ctseg-implants/1"
FILE = "implants.json"
KINDS: tuple[Kind, ...] = ("deep", "lobar", "contusion", "lobar")
"""Of the places, in turn."""
APART_ML = 15.0
"""Places are as far apart as haematomas of this volume need."""


@dataclass(frozen=True)
class Cells:
    """The grid, and the seed of its places and shapes."""

    places: int = 7
    ml: tuple[float, ...] = (1, 2, 5, 15, 40)
    hu: tuple[float, ...] = (45, 52, 60, 68)
    oedema_mm: tuple[float, ...] = (0, 8)
    seed: int = 0

    def combinations(self) -> Iterator[tuple[float, float, float]]:
        """Every mL, HU and width of the oedema."""
        return product(self.ml, self.hu, self.oedema_mm)


@dataclass
class Results:
    """What has been measured so far; each combination is on disk as soon as it is."""

    path: Path
    head: dict[str, Any]
    """Of the file: the grid, the models and the settings."""
    scans: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path, cells: Cells, models: Sequence[dict[str, str]], settings: SegmentSettings) -> Results:
        """An earlier file goes on.

        Raises:
            InputError: if that was made with another grid, model or settings, or is broken.
        """
        path = folder / FILE
        head = {
            "schema": SCHEMA, "cells": {name: _plain(value) for name, value in asdict(cells).items()},
            "models": [dict(model) for model in models], "settings": settings.model_dump(mode="json"),
        }  # fmt: skip
        if not path.exists():
            return cls(path, head)
        return cls(path, head, _earlier_scans(path, head))

    def of_scan(self, name: str, digest: str, measured: dict[str, Any]) -> dict[str, Any]:
        """What is known of a scan; another scan of the same name is begun again.

        Args:
            name: of the scan.
            digest: of its input.
            measured: of the scan as it is, without a haematoma.
        """
        if name not in self.scans or self.scans[name].get("input") != digest:
            self.scans[name] = {"input": digest, **measured, "cells": {}}
        found: dict[str, Any] = self.scans[name]
        return found

    def earlier(self, cases: Iterable[Case]) -> list[str]:
        """A line where scans count that are none of these."""
        others = sorted(set(self.scans) - {case.case_id for case in cases})
        return [f"scans of earlier calls count, too: {', '.join(others)}"] if others else []

    def is_pictured(self, picture: Path, ready: ReadyCase) -> bool:
        """Whether a picture is there that was made of this very scan, and nobody has changed it since."""
        scan = self.scans.get(ready.volume.case_id, {})
        return picture.is_file() and scan.get("picture") == [ready.digest, look(picture)]

    def pictured(self, picture: Path, ready: ReadyCase) -> None:
        """Record of which scan a picture was made, and how it looks."""
        self.scans[ready.volume.case_id]["picture"] = [ready.digest, look(picture)]
        self.save()

    def save(self) -> None:
        """Write the file, atomically."""
        write_json(self.path, {**self.head, "scans": self.scans})

    def rows(self) -> list[dict[str, Any]]:
        """One row a haematoma."""
        return [
            {"scan": name, **row}
            for name, scan in self.scans.items()
            for cell in scan["cells"].values()
            for row in cell["haematomas"]
        ]


def run_scan(
    ready: ReadyCase,
    groups: Sequence[ModelGroup],
    settings: SegmentSettings,
    cells: Cells,
    results: Results,
    advance: Callable[[str], None],
) -> None:
    """Measure what is missing of one scan.

    Args:
        ready: the scan, prepared for each group of models.
        groups: the models.
        settings: threshold.
        cells: the grid.
        results: where it goes; what is there already is not measured again.
        advance: called with each finished combination.

    Raises:
        CaseError: if the head has no place at all.
    """
    name = ready.volume.case_id
    mask = predict_ready(ready, groups, settings).mask
    head = Head.of(ready.volume.voxels, Grid.of(ready.volume), ready.brain)
    places = draw_places(head, cells)
    false_ml = round(Grid.of(ready.volume).volume_ml(mask), 4)
    measured = {"brain_hu": round(head.brain_hu, 1), "false_ml": false_ml}
    scan = results.of_scan(name, ready.digest, measured)
    scan["places"] = [{"kind": kind, "place": list(place)} for kind, place in places]
    for combination in cells.combinations():
        key = "{:g} mL, {:g} HU, {:g} mm".format(*combination)
        if key not in scan["cells"]:
            scan["cells"][key] = _cell(ready, groups, settings, (head, places, mask, cells.seed), combination)
            results.save()
        advance(f"{name}: {key}")


def draw_places(head: Head, cells: Cells) -> list[tuple[Kind, Place]]:
    """The places of a head, the same for every volume and HU; fewer where it has no room for all.

    Raises:
        CaseError: if there is none.
    """
    places, found = Places(head), list[tuple[Kind, Place]]()
    for number in range(cells.places):
        kind = KINDS[number % len(KINDS)]
        rng = np.random.default_rng((cells.seed, number))
        wanted = Wanted(kind, APART_ML, 60, oedema_mm=0)
        place = places.draw(rng, wanted)
        implant = None if place is None else implant_at(head, rng, wanted, place, places.taken)
        if place is not None and implant is not None:
            found.append((kind, place))
            places.take(implant.whole_mask(head.voxels.shape))
    if not found:
        raise CaseError("the brain has no room for a haematoma")
    return found


def _cell(
    ready: ReadyCase,
    groups: Sequence[ModelGroup],
    settings: SegmentSettings,
    scene: tuple[Head, list[tuple[Kind, Place]], Any, int],
    combination: tuple[float, float, float],
) -> dict[str, Any]:
    """One combination at every place, in as few runs of the model as keep the haematomas apart."""
    head, places, mask, seed = scene
    ml, hu, oedema = combination
    fitted, left_out = list[tuple[int, Implant]](), list[int]()
    for number, (kind, place) in enumerate(places):
        rng = np.random.default_rng((seed, number, 1))
        implant = implant_at(head, rng, Wanted(kind, ml, hu, oedema_mm=oedema), place)
        if implant is None or not VOLUME[0] <= implant.ml / ml <= VOLUME[1]:
            left_out.append(number)
        else:
            fitted.append((number, implant))
    rows, stray = list[dict[str, Any]](), 0.0
    passes = group_apart(head, fitted)
    for together in passes:
        measured = measure_implants(ready, groups, settings, [implant for _, implant in together], mask)
        stray += measured.stray_ml
        rows += [_row(number, found) for (number, _), found in zip(together, measured.found, strict=True)]
    return {"haematomas": rows, "no_room": left_out, "passes": len(passes), "stray_ml": round(stray, 4)}


def group_apart(head: Head, implants: Sequence[tuple[int, Implant]]) -> list[list[tuple[int, Implant]]]:
    """Haematomas in groups that do not touch each other."""
    groups, rest = list[list[tuple[int, Implant]]](), list(implants)
    while rest:
        places, group, later = Places(head), list[tuple[int, Implant]](), list[tuple[int, Implant]]()
        for item in rest:
            whole = item[1].whole_mask(head.voxels.shape)
            if places.is_free(whole):
                places.take(whole)
                group.append(item)
            else:
                later.append(item)
        groups.append(group)
        rest = later
    return groups


def _row(number: int, found: Found) -> dict[str, Any]:
    implant = found.implant
    return {
        "place": number, "kind": implant.wanted.kind, "ml": implant.wanted.ml, "hu": implant.wanted.hu,
        "oedema_mm": implant.wanted.oedema_mm, "true_ml": round(implant.ml, 4), "true_hu": round(implant.hu, 2),
        "found_ml": round(found.ml, 4), "dice": round(found.dice, 4), "share": round(found.share, 4),
        "found": int(found.is_hit),
    }  # fmt: skip


def _earlier_scans(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """What an earlier file says of its scans; errors as of `Results.start`."""
    old = read_json(path)
    if not isinstance(old, dict) or not isinstance(old.get("scans"), dict):
        raise InputError(f"{path}: not a file of `ctseg implant`; choose another output")
    if any(old.get(key) != value for key, value in head.items()):
        raise InputError(f"{path}: made with another grid, model or settings; choose another output")
    scans: dict[str, Any] = old["scans"]
    broken = next((name for name, scan in scans.items() if not _is_scan(scan)), None)
    if broken is not None:
        raise InputError(f"{path}: what it says of {one_line(broken)[:60]} is broken; choose another output")
    return scans


COUNTED = ("place", "ml", "hu", "oedema_mm", "true_ml", "true_hu", "found_ml", "dice", "share", "found")
"""The numbers of a row."""


def _is_scan(scan: Any) -> bool:
    """Whether an entry of the file has the form that `run_scan` gives it."""
    if not isinstance(scan, dict) or not isinstance(scan.get("cells"), dict):
        return False
    return _has_numbers(scan, ("brain_hu", "false_ml")) and all(map(_is_cell, scan["cells"].values()))


def _is_cell(cell: Any) -> bool:
    if not _has_numbers(cell, ("stray_ml",)) or not isinstance(cell.get("no_room"), list):
        return False
    rows = cell.get("haematomas")
    return isinstance(rows, list) and all(_has_numbers(row, COUNTED) for row in rows)


def _has_numbers(table: Any, names: Sequence[str]) -> bool:
    return isinstance(table, dict) and all(isinstance(table.get(name), int | float) for name in names)


def _plain(value: Any) -> Any:
    return [float(item) for item in value] if isinstance(value, tuple) else value
