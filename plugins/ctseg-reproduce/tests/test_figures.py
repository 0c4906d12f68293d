"""Figures on toy data: names and truth choose what is shown, what is missing says so, and nothing stops a table."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ctseg_reproduce import chart_figures, example_slices, figures, matching_figures
from ctseg_reproduce.example_slices import Choice, choose, head_box, read_examples
from ctseg_reproduce.figures import segmentations, write_figures
from ctseg_reproduce.inputs import own_inputs
from ctseg_reproduce.plan import Plan
from ctseg_reproduce.results import METRICS, Outcome
from ctseg_reproduce.run import Request
from ctseg_reproduce.scales import get_scale
from ctseg_reproduce.source_slices import largest_lesions
from ctseg_reproduce.source_subsets import source_subsets
from ctseg_reproduce.stages import Stage
from ctseg_reproduce.systems import ROWS, get_rows
from ctseg_reproduce.table import Result, write_table

from ctseg.errors import InputError
from ctseg.evaluation.grids import read_mask
from ctseg.files import write_json
from ctseg.io.slices import SliceSet, open_slices
from ctseg.matching.metrics import AmdMetric
from ctseg.matching.pairs import match, write_pairs


@pytest.fixture
def request_(cohort: Path, tmp_path: Path) -> Request:
    inputs = own_inputs(*(cohort / name for name in ("mr", "ct", "scans", "truth")))
    return Request(tmp_path, "table2", Plan(get_scale("smoke"), inputs), tuple(get_rows("table2")), (0,))


def outcome(seed: int = 0) -> Outcome:
    values = {f"{metric}_{part}": [1.0, 1.0] for metric in METRICS for part in ("part", "whole")}
    return Outcome(seed, pd.DataFrame({"patient": ["a", "b"], **values}), "last", 3)


def results_of(request: Request, *done: str, failed: str = "") -> list[Result]:
    return [
        Result(
            row,
            (outcome(),) if row.name in done else (),
            1.0,
            "ctseg",
            ("seed 0: it broke",) if row.name == failed else (),
        )
        for row in get_rows(request.table)
    ]


def finish_row(request: Request, name: str, dice: float = 1.0) -> Path:
    """A row whose masks are the truth."""
    folder = request.root / "rows" / name / "seed-0"
    shutil.copytree(request.plan.inputs.truth, folder / "masks")
    lines = [{"case": case, "status": "ok", "dice": dice, "pred_ml": 2.0} for case in ("ct_one", "ct_two")]
    (folder / "evaluation").mkdir()
    pd.DataFrame(lines).to_csv(folder / "evaluation" / "cases.csv", index=False)
    mark_done(request.root, request.plan.row(ROWS[name], 0))
    return folder


def mark_done(root: Path, stage: Stage) -> None:
    write_json(root / stage.folder / "stage.json", {"key": stage.key})
    write_json(root / stage.folder / "study.state.json", {step["name"]: {"done": True} for step in stage.steps})
    for step in stage.steps:
        (root / stage.folder / step["output"]).mkdir(exist_ok=True)


def finish_synthesis(request: Request, name: str) -> None:
    stage = request.plan.synthesis(name, 0)
    shutil.copytree(request.plan.inputs.source, request.root / stage.folder / "pseudo-ct")
    mark_done(request.root, stage)


def test_source_slices_are_the_largest_lesion_of_the_first_held_out_patients(
    make_slices: Callable[..., SliceSet], tmp_path: Path
) -> None:
    source = make_slices(tmp_path / "mr", "mr", 4, 4, labelled=True)
    rows, who = largest_lesions(source)
    masks = source.require_masks("test")
    assert "held-out" in who
    assert len(rows) == 1  # one patient in 'val'
    inside = source.rows("val")
    assert rows[0] in inside
    assert masks[rows[0]].sum() == masks[inside].sum(axis=(1, 2)).max()


def test_without_held_out_patients_any_are_shown_and_the_figure_says_so(
    make_slices: Callable[..., SliceSet], tmp_path: Path
) -> None:
    source = make_slices(tmp_path / "mr", "mr", 7, 2, labelled=True)
    source.table["split"] = "train"
    rows, who = largest_lesions(source)
    assert "trained on" in who
    assert source.table["patient_id"][rows].tolist() == [f"mr_p{number}" for number in range(5)]


def test_test_slices_are_those_of_the_largest_true_area(cohort: Path) -> None:
    found = choose({path.name.removesuffix(".nii.gz"): path for path in (cohort / "truth").iterdir()})
    assert [item.case for item in found] == ["ct_one", "ct_two"]
    area = read_mask(cohort / "truth/ct_one.nii.gz").mask.sum(axis=(1, 2))
    assert found[0].index == area.argmax()
    assert found[0].ml == pytest.approx(3 * 8 * 8 * 3 * 3 * 5 / 1000)


def test_one_patient_without_a_bleed_comes_last_in_the_middle_of_the_scan(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(case: str, path: Path) -> Choice:
        return Choice(case, 3, (8, 4, 4), 0.0 if path.name == "none" else 1.0)

    monkeypatch.setattr(example_slices, "_choice", known)
    names = ["a", "P0000000000_aaaaaa", "P0000000000_bbbbbb", "d", "e", "f", "g"]
    empty = {"a", "f"}
    found = choose({name: Path("none" if name in empty else "some") for name in names})
    assert [item.case for item in found] == ["P0000000000_aaaaaa", "d", "e", "g", "a"]


def test_slices_are_read_once_and_again_when_the_truth_is_another(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = tmp_path / "truth"
    shutil.copytree(cohort / "truth", truth)
    first = read_examples(tmp_path, cohort / "scans", truth)
    calls: list[Path] = []
    discover = example_slices.discover
    monkeypatch.setattr(
        example_slices, "discover", lambda path, domain: (calls.append(path), discover(path, domain))[1]
    )
    again = read_examples(tmp_path, cohort / "scans", truth)
    assert not calls
    for one, other in zip(first, again, strict=True):
        assert (one.choice, one.box, one.spacing_mm, one.sides) == (
            other.choice,
            other.box,
            other.spacing_mm,
            other.sides,
        )
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.truth, other.truth)
    assert first[0].image is not None
    assert first[0].image.max() == 255  # bone
    assert first[0].truth is not None
    assert first[0].truth.sum() == 64
    (truth / "ct_one.nii.gz").write_bytes((cohort / "truth/ct_two.nii.gz").read_bytes())
    read_examples(tmp_path, cohort / "scans", truth)
    assert calls


def test_a_scan_that_is_not_there_is_a_reason_and_is_not_remembered(cohort: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(cohort / "scans/ct_one.nii.gz", scans)
    found = read_examples(tmp_path, scans, cohort / "truth")
    assert found[0].image is not None
    assert found[1].image is None
    assert "ct_two" in found[1].why
    assert not (tmp_path / example_slices.CACHE).exists()


def test_the_head_is_found_beside_its_table() -> None:
    plane = np.full((100, 100), -1000.0, np.float32)
    plane[20:60, 30:70] = 30
    plane[90:92] = 100
    assert head_box(plane, (1.0, 2.0)) == (14, 66, 27, 73)
    assert head_box(np.full((9, 9), -1000.0, np.float32), (1.0, 1.0)) == (0, 9, 0, 9)


def test_every_row_has_its_tiles_and_says_what_is_missing(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_row(request_, "mr", 0.834)
    (finish_row(request_, "proposed") / "masks" / "ct_two.nii.gz").unlink()
    seen: list[list[str]] = []
    draw_sheet = figures.draw_sheet

    def look(rows, titles, foot):  # type: ignore[no-untyped-def]
        seen.extend([tile.note for tile in line] for line in rows)
        return draw_sheet(rows, titles, foot=foot)

    monkeypatch.setattr(figures, "draw_sheet", look)
    done = ("mr", "proposed", "shuffled")  # the last came from another machine
    segmentations(request_, results_of(request_, *done, failed="cyclegan"), 0, lambda *_: None)
    assert len(seen) == 2
    assert seen[0][1:4] == ["haemorrhage of 8.6 mL", "Dice 0.83 (1.00)", "seed 0: it broke"]
    assert seen[0][4:] == ["Dice 1.00 (1.00)", "seed 0 was made in another folder"]  # no column for what never ran
    assert "ct_two" in seen[1][4]


def test_table_two_has_both_figures_in_its_page_and_its_markdown(request_: Request) -> None:
    finish_row(request_, "mr")
    finish_synthesis(request_, "proposed")
    results = results_of(request_, "mr")
    said: list[str] = []
    drawn = write_figures(request_, results, said.append)
    assert not said
    assert [item.path.name for item in drawn] == ["table2-pseudo-ct.png", "table2-segmentations.png"]
    assert all(item.path.stat().st_size > 1000 for item in drawn)
    paths = write_table(
        request_.root, "table2", results, get_scale("smoke"), own_data=True, command="ctseg", figures=drawn
    )
    texts = {path.suffix: path.read_text() for path in paths}
    assert "](table2-pseudo-ct.png)" in texts[".md"]
    page = texts[".html"]
    assert page.count("data:image/png") == 2
    assert "Figure 11" in page


def test_pseudo_ct_of_an_unfinished_system_is_blank(request_: Request) -> None:
    source = open_slices(Path(request_.plan.inputs.source))
    rows, _ = largest_lesions(source)
    tiles = figures._pseudo_tiles(request_, "cyclegan", 0, source, rows)
    assert [tile.image for tile in tiles] == [None]
    assert tiles[0].note == "not made with seed 0"
    finish_synthesis(request_, "cyclegan")
    assert figures._pseudo_tiles(request_, "cyclegan", 0, source, rows)[0].image is not None


def test_a_figure_that_cannot_be_drawn_does_not_keep_the_others(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_row(request_, "mr")

    def broken(*_: object) -> None:
        raise InputError("no scans here")

    monkeypatch.setattr(figures, "read_examples", broken)
    said: list[str] = []
    drawn = write_figures(request_, results_of(request_, "mr"), said.append)
    assert [item.path.name for item in drawn] == ["table2-pseudo-ct.png"]
    assert said == ["table2-segmentations.png could not be drawn: no scans here"]


def test_before_the_first_row_is_done_here_there_is_no_figure(request_: Request) -> None:
    assert write_figures(request_, results_of(request_)) == []
    assert write_figures(request_, results_of(request_, "mr")) == []


def test_k_fold_rows_have_no_figure(request_: Request) -> None:
    table5 = replace(request_, table="table5", rows=tuple(get_rows("table5")))
    assert write_figures(table5, results_of(table5, "fcn-none")) == []


@pytest.fixture
def paired(request_: Request) -> Request:
    """With the data stage done: pairs and the source sets of Table 4."""
    inputs, data = request_.plan.inputs, request_.plan.data(0)
    source, target = open_slices(Path(inputs.source)), open_slices(Path(inputs.target))
    (request_.root / data.folder).mkdir()
    for step in data.steps:
        pairs = match(source, target, AmdMetric(), 2, step["direction"], "train")
        write_pairs(pairs, request_.root / data.folder / step["output"])
    stage = request_.plan.source_subsets(0)
    folder = request_.root / stage.folder / "subsets"
    folder.mkdir(parents=True)
    for name, ids in source_subsets(source, ["mr_0", "mr_1", "mr_5"]).items():
        (folder / f"{name}.txt").write_text("\n".join(ids))
    for item in (data, stage):
        write_json(request_.root / item.folder / "stage.json", {"key": item.key})
        write_json(
            request_.root / item.folder / "study.state.json", {step["name"]: {"done": True} for step in item.steps}
        )
    return request_


def test_each_mr_stands_over_its_nearest_ct(paired: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    draw_sheet = matching_figures.draw_sheet

    def look(rows, *args, **kwargs):  # type: ignore[no-untyped-def]
        seen.extend([tile.note for tile in line] for line in rows)
        return draw_sheet(rows, *args, **kwargs)

    monkeypatch.setattr(matching_figures, "draw_sheet", look)
    drawn = matching_figures.pairs_figure(paired, 0)
    assert drawn.path.name == "table2-pairs.png"
    assert "Figure 5" in drawn.caption
    assert len(seen) == 1 + matching_figures.NEAREST
    assert all(note.startswith("MR: mr_p") for note in seen[0])
    assert all(note.startswith("CT 1: ct_p") for note in seen[1])
    assert all(note.startswith("CT 3: ct_p") for note in seen[3])
    table = pd.read_csv(paired.root / "data/pairs.csv")
    patient, index = seen[0][0].removeprefix("MR: ").split(", slice ")
    asked = f"mr_{4 * int(patient.removeprefix('mr_p')) + int(index)}"
    nearest = int(table[(table["source_id"] == asked) & (table["rank"] == 1)]["target_id"].iloc[0].removeprefix("ct_"))
    assert seen[1][0] == f"CT 1: ct_p{nearest // 2}, slice {nearest % 2}"


def test_a_fingerprint_is_drawn_with_the_distance_that_match_writes(
    paired: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    feet: list[str] = []
    draw_sheet = matching_figures.draw_sheet

    def look(rows, titles, foot):  # type: ignore[no-untyped-def]
        feet.append(foot)
        return draw_sheet(rows, titles, foot=foot)

    monkeypatch.setattr(matching_figures, "draw_sheet", look)
    drawn = matching_figures.fingerprint_figure(paired, 0)
    assert drawn.path.stat().st_size > 1000
    table = pd.read_csv(paired.root / "data/pairs.csv")
    bits = {f"{int(value)} of 64 bits differ" for value in table[table["rank"] == 1]["hamming"]}
    assert any(text in feet[0] for text in bits)
    assert "25 and" in feet[0]  # the toy lesion has 5 x 5 pixels


def test_source_sets_are_drawn_as_parts_of_the_source(paired: Request) -> None:
    drawn = chart_figures.subsets_figure(replace(paired, table="table4"), 0)
    assert drawn.path.name == "table4-source-subsets.png"
    assert drawn.path.stat().st_size > 1000
    assert chart_figures._runs(np.array([0, 1, 2, 5, 7, 8])) == [(0, 3), (5, 1), (7, 2)]
    assert chart_figures._runs(np.array([], int)) == []


def test_one_and_two_stages_stand_side_by_side(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    heights: dict[str, list[float]] = {}
    bars = chart_figures._bars

    def look(axes, results, shift, colour, name):  # type: ignore[no-untyped-def]
        bars(axes, results, shift, colour, name)
        heights[name] = [patch.get_height() for patch in axes.containers[-1]]

    monkeypatch.setattr(chart_figures, "_bars", look)
    monkeypatch.setattr(chart_figures, "collect", lambda request, failed: results_of(request, "mr", "proposed"))
    table3 = replace(request_, table="table3", rows=tuple(get_rows("table3")))
    drawn = chart_figures.stages_figure(table3, results_of(table3, "amd-das"))
    assert drawn.path.name == "table3-one-and-two-stages.png"
    assert heights == {"without DAS": [100, 0, 0, 0, 100], "with DAS": [0, 0, 0, 0, 100]}


def test_tables_have_the_figures_of_the_stages_that_are_here(paired: Request) -> None:
    finish_row(paired, "mr")
    finish_row(paired, "amd-das")
    for table, names in (
        ("table2", ["fingerprint", "pairs", "pseudo-ct", "segmentations"]),
        ("table3", ["one-and-two-stages", "segmentations"]),
        ("table4", ["source-subsets", "segmentations"]),
    ):
        request, said = replace(paired, table=table, rows=tuple(get_rows(table))), []
        drawn = write_figures(request, results_of(request, "mr", "amd-das"), said.append)
        assert [item.path.name for item in drawn] == [f"{table}-{name}.png" for name in names]
        assert not said
