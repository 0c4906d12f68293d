from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ctseg_reproduce import implant_grid
from ctseg_reproduce.implant_grid import Cells, Results, draw_places, run_scan
from ctseg_reproduce.implant_report import markdown, summarise, write_picture, write_tables
from implant_toys import bright_models, ready_head

from ctseg.cli.main import main
from ctseg.errors import CaseError, InputError
from ctseg.inference.settings import SegmentSettings

CELLS = Cells(places=3, ml=(2, 15), hu=(45, 70), oedema_mm=(0,))
SETTINGS = SegmentSettings()
MODELS = bright_models()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("implants")
    results = Results.start(place, CELLS, [{"weights": "0"}], SETTINGS)
    run_scan(ready_head(), MODELS, SETTINGS, CELLS, results, lambda _: None)
    write_tables(place, results)
    return place


@pytest.mark.slow
def test_a_model_of_50_hu_finds_bright_haematomas_and_no_faint_ones(folder: Path) -> None:
    results = Results.start(folder, CELLS, [{"weights": "0"}], SETTINGS)
    found = {(row["ml"], row["hu"]): row for row in summarise(results.rows(), ("ml", "hu"))}
    assert found[15, 70]["sensitivity"] == 1
    assert found[15, 70]["dice"] > 0.9
    assert found[15, 70]["volume_ratio"] == pytest.approx(1, abs=0.15)
    assert found[2, 70]["dice"] > 0.6
    assert found[15, 45]["dice"] < 0.5
    assert sum(row["haematomas"] for row in found.values()) + _no_room(results) == 3 * 2 * 2
    assert results.scans["toy"]["false_ml"] == 0


def _no_room(results: Results) -> int:
    return sum(len(cell["no_room"]) for scan in results.scans.values() for cell in scan["cells"].values())


@pytest.mark.slow
def test_places_and_shapes_are_the_same_for_every_hu(folder: Path) -> None:
    rows = Results.start(folder, CELLS, [{"weights": "0"}], SETTINGS).rows()
    bright, faint = ([row["true_ml"] for row in rows if (row["hu"], row["oedema_mm"]) == (hu, 0)] for hu in (70, 45))
    assert bright == faint


@pytest.mark.slow
def test_what_is_measured_is_not_measured_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results.start(folder, CELLS, [{"weights": "0"}], SETTINGS)
    key = next(iter(results.scans["toy"]["cells"]))
    before = results.scans["toy"]["cells"].pop(key)
    done = []
    monkeypatch.setattr(implant_grid, "_cell", lambda *args: done.append(args[-1]) or before)
    run_scan(ready_head(), MODELS, SETTINGS, CELLS, results, lambda _: None)
    assert len(done) == 1
    with pytest.raises(InputError, match="another grid, model or settings"):
        Results.start(folder, replace(CELLS, seed=1), [{"weights": "0"}], SETTINGS)
    with pytest.raises(InputError, match="another grid, model or settings"):
        Results.start(folder, CELLS, [{"weights": "1"}], SETTINGS)


@pytest.mark.slow
def test_tables_and_picture_are_written(folder: Path, tmp_path: Path) -> None:
    text = (folder / "implants.md").read_text()
    assert "| 15 | 70 |" in text
    assert "0.00 mL segmented without any haematoma" in text
    assert len((folder / "implants.csv").read_text().splitlines()) > 8
    assert json.loads((folder / "implants.json").read_text())["schema"] == "ctseg-implants/1"
    picture = write_picture(tmp_path / "toy.png", ready_head(), MODELS, SETTINGS, CELLS)
    assert picture.stat().st_size > 5000


@pytest.mark.slow
def test_another_scan_of_the_same_name_is_measured_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results.start(folder, CELLS, [{"weights": "0"}], SETTINGS)
    cells = dict(results.scans["toy"]["cells"])
    done = []
    monkeypatch.setattr(implant_grid, "_cell", lambda *args: done.append(args[-1]) or cells[next(iter(cells))])
    run_scan(replace(ready_head(), digest="another"), MODELS, SETTINGS, CELLS, results, lambda _: None)
    assert len(done) == len(cells)


@pytest.mark.parametrize("scans", [
    {"a": 5}, {"a": {"brain_hu": 1, "false_ml": 1}}, {"a": {"brain_hu": 1, "false_ml": 1, "cells": {"x": {}}}},
    {"a\x1b[31m": {"brain_hu": 1, "false_ml": 1, "cells": {"x": {"stray_ml": 1, "no_room": [], "haematomas": [{}]}}}},
])  # fmt: skip
def test_what_a_file_says_of_a_scan_is_checked(tmp_path: Path, scans: object) -> None:
    head = Results.start(tmp_path, CELLS, [], SETTINGS).head
    (tmp_path / "implants.json").write_text(json.dumps({**head, "scans": scans}))
    with pytest.raises(InputError, match="what it says of a.* is broken") as error:
        Results.start(tmp_path, CELLS, [], SETTINGS)
    assert "\x1b" not in str(error.value)


def test_a_broken_file_and_a_head_without_room_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "implants.json").write_text("[]")
    with pytest.raises(InputError, match=r"not a file of `ctseg implant`"):
        Results.start(tmp_path, CELLS, [], SETTINGS)
    ready = ready_head()
    small = np.zeros_like(ready.brain)
    small[12, 40:43, 40:43] = True
    with pytest.raises(CaseError, match="no room"):
        run_scan(replace(ready, brain=small), MODELS, SETTINGS, CELLS,
                 Results.start(tmp_path / "new", CELLS, [], SETTINGS), lambda _: None)  # fmt: skip


def test_markdown_of_nothing() -> None:
    assert summarise([], ("ml",)) == []
    assert markdown([]) == "nothing measured\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--ml", "0:5"], "0 mL"), (["--hu", "200"], "200 HU"), (["--oedema-mm", "x"], "expected numbers")],
)
def test_a_grid_that_no_head_can_hold_is_refused(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["implant", str(tmp_path), "--model", str(tmp_path), "-o", str(tmp_path / "out"), *flags])
    assert code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_more_places_than_a_head_holds_are_fewer() -> None:
    from ctseg.implant.head import Head
    from ctseg.io.stack import Grid

    ready = ready_head()
    head = Head.of(ready.volume.voxels, Grid.of(ready.volume), ready.brain)
    found = draw_places(head, Cells(places=40))
    assert 5 < len(found) < 40
