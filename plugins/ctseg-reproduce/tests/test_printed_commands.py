"""The printed command of every row, called in an empty folder, asks for the very row."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from ctseg_reproduce import run
from ctseg_reproduce.inputs import PHANTOM, Inputs, own_inputs
from ctseg_reproduce.plan import Plan
from ctseg_reproduce.run import Request, command_of
from ctseg_reproduce.scales import PRESETS, SCALES, get_scale
from ctseg_reproduce.systems import SELECTION_STUDIES, TABLES, get_rows

from ctseg.cli import common
from ctseg.cli.main import main

pytestmark = pytest.mark.slow


class _ReadError(Exception):
    """Ends a call once its request is known."""


def request_of(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """What a printed command asks for when it is called with another folder."""
    found: list[Request] = []

    def stop(request: Request, *_: object) -> None:
        found.append(request)
        raise _ReadError

    monkeypatch.setattr(run, "run_rows", stop)
    common.STATE = common.State()
    words = shlex.split(command)
    assert words[0] == "ctseg"
    with pytest.raises(_ReadError):
        main(["-q", *words[1 : words.index("-o")], "-o", str(folder)])
    return found[0]


@pytest.fixture
def own(tmp_path: Path) -> Inputs:
    names = ("mr", "ct", "scans", "truth", "train", "train truth")
    for name in names:
        (tmp_path / name).mkdir()
    return own_inputs(*(tmp_path / name for name in names))


def same_rows(request: Request, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, row in enumerate(get_rows(request.table)):
        again = request_of(command_of(request, request.seeds, row), folder / str(place), monkeypatch)
        assert [item.name for item in again.rows] == [row.name]
        assert again.seeds == request.seeds
        for seed in request.seeds:
            assert again.plan.row(row, seed).key == request.plan.row(row, seed).key, (row.name, seed)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("table", TABLES)
def test_a_printed_command_gives_the_rows_key(
    scale: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(get_scale(scale), PHANTOM, "cpu", 3, "32")
    same_rows(Request(tmp_path / "old", table, plan, (), (4, 7)), tmp_path / "new", monkeypatch)


@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize("table", ["plus", *SELECTION_STUDIES])
def test_so_does_that_of_own_data(
    device: str, table: str, own: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(get_scale("cpu"), own, device, 2)
    same_rows(Request(tmp_path / "old", table, plan, (), (0, 1)), tmp_path / "new", monkeypatch)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("table", ["table4", "plus"])
def test_so_does_that_of_another_preset(
    preset: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(get_scale("cpu").with_preset(preset), PHANTOM)
    request = Request(tmp_path / "old", table, plan, (), (0, 1))
    assert f"--preset {preset}" in command_of(request, (0, 1))
    same_rows(request, tmp_path / "new", monkeypatch)
    assert plan.row(get_rows("table4")[0], 0).folder == f"{preset}/rows/amd-das/seed-0"
    assert plan.data(0).folder == "data/seed-0"


@pytest.mark.parametrize("table", ["claims", "table2"])
def test_a_page_of_chosen_rows_prints_a_command_that_makes_no_others(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(get_scale("smoke"), PHANTOM, "cpu", 0)
    chosen = tuple(get_rows(table, [item.name for item in get_rows(table)[:2]]))
    request = Request(tmp_path / "old", table, plan, chosen, (0, 1))
    asked = request_of(command_of(request, (0, 1)), tmp_path / "new", monkeypatch).rows
    assert {item.name for item in asked} == {item.name for item in chosen}
    every = replace(request, rows=tuple(get_rows(table)))
    assert "--rows" not in command_of(every, (0, 1))
    assert len(request_of(command_of(every, (0, 1)), tmp_path / "all", monkeypatch).rows) == len(every.rows)
