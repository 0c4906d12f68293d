"""Formulas and escape sequences in names are harmless in every output: CSV, JSON, HTML, TOML, logs, terminal."""

from __future__ import annotations

import csv
import io
import json
import sys
import tomllib
import unicodedata
from pathlib import Path

import cube
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import ctseg.cli.main as main_module
from ctseg.cli import common
from ctseg.cli.case_rows import CaseRows, LiveCaseRows
from ctseg.cli.ending import complain
from ctseg.cli.main import main
from ctseg.cli.model_card import card
from ctseg.errors import InputError
from ctseg.export.description import readme
from ctseg.files import write_json
from ctseg.harmless import (
    BREAKS,
    FORMULA,
    NUMBER,
    OBEYED,
    csv_text,
    is_plain,
    markdown_row,
    markdown_text,
    one_line,
    safe_cell,
    safe_table,
    visible,
)
from ctseg.inference.results import CaseResult
from ctseg.io.slice_table import read_slice_table
from ctseg.progress import Progress
from ctseg.render.curves import curves
from ctseg.render.page import Page
from ctseg.render.plots import add_legend, lettering, new_figure
from ctseg.render.png import png_bytes
from ctseg.runs import ModelHeader, write_toml

FORMULAS = (
    "=cmd|'/C calc'!A0",
    "+1+1",
    "-2+3+cmd|x",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    " =1",
    "＝1+1",
    "=HYPERLINK(0)",
    "﹦1",
    "\u00a0=1",
    "\u3000＝1",
    "a;=1+1",
    "a; +cmd",
    "-5;-2+3+cmd|x",
)
OBEYING = (
    "\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "\x90q", "a\u202egpj", "\u2066x\u2069", "a\u200bb", "\ufeffx", "a\rb",
    "a\x08b", "\x7f", "a\u2028b", "\udc80", "a\u00adb", "\x00",
    "a\U000e0041b", "a\ufe0fb", "a\u3164b", "a\u206ab", "\x1b]8;;https://a.example\x1b\\\\x", "\x1b]52;c;YQ==\x07",
)  # fmt: skip


@pytest.mark.parametrize("text", [*FORMULAS, *OBEYING])
def test_every_cell_and_every_line_is_harmless(text: str) -> None:
    cell = safe_cell(text)
    assert not OBEYED.search(cell)
    assert not cell.lstrip().startswith((*FORMULA, *BREAKS))
    assert not any(part.lstrip().startswith(FORMULA) and NUMBER.fullmatch(part) is None for part in cell.split(";"))
    assert "\n" not in one_line(text)
    assert not OBEYED.search(visible(text))
    assert not is_plain(text)


@pytest.mark.parametrize(
    "text",
    ["", "a=b", "a-b", "ID_0a89bb9e3", "1.2.840", "-5", "+1.5e-3", "-inf", "Müller", "頭", "a; b", "5;-5", "HU -5"],
)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == visible(text) == text
    assert is_plain(text)


def test_no_character_that_is_obeyed_or_not_seen_passes() -> None:
    """Controls, formats, separators and surrogates of Unicode; signs of number in Arabic and such are seen."""
    seen = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
    bad = [
        code for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp", "Cs") and code not in seen
    ]  # fmt: skip
    assert len(bad) > 2000
    assert [hex(code) for code in bad if code not in (9, 10) and not OBEYED.search(chr(code))] == []


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "![x](http://a.example/x.png)", "[x](javascript:1)", "[x][y]"]
)
def test_markdown_opens_no_tag_and_is_no_link(text: str) -> None:
    for written in (markdown_row([text]), markdown_text(text), markdown_text(f"a\n{text}")):
        assert "<" not in written
        assert "](" not in written
        assert "][" not in written
        assert "\n" not in written


def test_names_in_plots_are_no_mathematics() -> None:
    """Matplotlib would refuse `a$^{$b`, and leave a name with an underscore out of the legend."""
    for name in ("a$^{$b", "_x", "\\$\\frac$", "$\x1b[31m$"):
        figure, axes = new_figure()
        axes.plot([0, 1], label=lettering(name))
        add_legend(axes)
        png_bytes(figure)
        assert len(axes.get_legend().get_texts()) == 1
        curves([name], [{"epoch": k, name: 0.5 * k} for k in (0, 1)]).savefig(io.BytesIO())


def test_a_traceback_shows_what_a_terminal_would_obey(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise ValueError("\x1b]52;c;YQ==\x07 of a plugin")

    monkeypatch.setattr(main_module, "main", fail)
    monkeypatch.setattr(main_module, "keep_streams", lambda: None)
    monkeypatch.setattr(main_module, "end_by_signals", lambda: None)
    with pytest.raises(SystemExit) as ended:
        main_module.run()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "of a plugin" in said
    assert "Traceback" in said
    assert not OBEYED.search(said)


def test_a_model_from_elsewhere_writes_no_tag_into_the_text_beside_it() -> None:
    hostile = "<img src=x onerror=alert(1)> ![x](http://a.example)"
    header = ModelHeader("segmenter", hostile, {}, "ctseg", "1", training={"preset": hostile, "selection": hostile})
    for text in (
        card(header, [{"epoch": 0, "warnings": [hostile]}], {}, "0" * 64),
        readme(
            {
                "model": {"model": hostile, "sha256": "0", "segmenter": hostile, "trained_by": hostile,
                          "licence": hostile, "limits": [hostile]},
                "parity": {"probability": 0.0, "slices": 4}, "files": {}, "input": {"shape": [1]},
                "before": {"steps": [hostile]}, "after": {"steps": []},
            }, ""
        ),
    ):  # fmt: skip
        assert "<img" not in text
        assert "![x](" not in text


def test_tables_keep_numbers_and_are_read_back() -> None:
    rows = [{"case": "=1", "ml": -5.0, "note": "a\nb"}, {"case": "b", "ml": None, "note": "x"}]
    read = list(csv.DictReader(io.StringIO(csv_text(("case", "ml", "note"), rows))))
    assert [row["case"] for row in read] == ["'=1", "b"]
    assert [row["ml"] for row in read] == ["-5.0", ""]
    table = safe_table(pd.DataFrame({"=x": ["@a", "b"], "n": [-1, 2], "y": [np.nan, 0.5]}))
    assert list(table.columns) == ["'=x", "n", "y"]
    assert table["n"].tolist() == [-1, 2]
    assert table["'=x"].tolist() == ["'@a", "b"]


@pytest.mark.parametrize("text", OBEYING)
def test_files_hold_the_same_text_without_the_characters(text: str, tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": text})
    assert json.loads((tmp_path / "a.json").read_text())["name"] == text
    Page(text).add_text(text).add_table([text], [[text]]).write(tmp_path / "a.html")
    for file in ("a.json", "a.html"):
        assert not OBEYED.search((tmp_path / file).read_text())
    if not "\ud800" <= max(text) <= "\udfff":
        write_toml(tmp_path / "a.toml", {"name": text})
        assert tomllib.loads((tmp_path / "a.toml").read_text())["name"] == text
        assert not OBEYED.search((tmp_path / "a.toml").read_text())


@pytest.mark.parametrize("text", OBEYING)
def test_lines_on_stderr_and_the_live_table_show_what_a_terminal_would_obey(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    common.say(f"left out: {text}")
    complain(text, 2)
    bar = Progress("Looking", None)
    bar._say(bar._line(text))
    with CaseRows([text]) as rows:
        rows.add(CaseResult(text, "failed", error=text))
    lines = capsys.readouterr().err
    assert not OBEYED.search(lines)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=200, height=9)
    with LiveCaseRows([text, text, "[red]x[/red]"], console) as live:
        live.add(CaseResult(text, "failed", error=text))
        live.add(CaseResult("[bold]b[/bold]", "ok", ml=1.0, lesions=1, note="[link=file:///x]y[/link]"))
    shown = screen.getvalue()
    assert "[bold]b[/bold]" in shown
    assert "[link=file:///x]y[/link]" in shown
    rest = shown.replace("\x1b[?25l", "").replace("\x1b[?25h", "").replace("\x1b[1A", "").replace("\x1b[2K", "")
    assert not OBEYED.search(rest.replace("\r", ""))


@pytest.mark.parametrize("name", ["slice_id", "patient_id", "series_id", "case_id", "split"])
@pytest.mark.parametrize("text", ["=1+1", "@x", "a\x1b[31m", "a\u202eb"])
def test_a_slice_set_with_such_identifiers_is_refused(name: str, text: str, tmp_path: Path) -> None:
    row = {
        "slice_id": "a", "patient_id": "p", "series_id": "s", "case_id": "c", "index": 0, "z_mm": 0.0,
        "spacing_row_mm": 1.0, "spacing_col_mm": 1.0, "brain_px": 1, "lesion_px": "", "split": "train", name: text,
    }  # fmt: skip
    pd.DataFrame([row]).to_csv(tmp_path / "slices.csv", index=False)
    with pytest.raises(InputError, match=f"line 2: {name} .* is a formula") as caught:
        read_slice_table(tmp_path / "slices.csv")
    assert not OBEYED.search(str(caught.value))


NAMES = (
    "=1+1",
    "-cmd",
    "@x",
    "+a",
    "a\x1b[31m",
    "b\u202exyz",
    "c\x9bm",
    "<img src=x onerror=alert(1)>",
    "d\nnew",
    "e\tf",
)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Scans and files of other kinds with names that would be obeyed."""
    folder = tmp_path / "scans\x1b[32m"
    folder.mkdir()
    image = nib.load(cube.nifti(tmp_path / "plain.nii"))
    for name in NAMES:
        nib.save(image, folder / f"{name.replace('/', '_')}.nii")
        (folder / f"{name.replace('/', '_')}.mgz").write_bytes(b"x")
        (folder / f"{name.replace('/', '_')}.dcm").write_bytes(b"x" * 200)
    return folder


def harmless(folder: Path, said: str) -> None:
    """No file name, no text file and nothing that was said holds what would be obeyed or computed."""
    assert not OBEYED.search(said)
    for path in folder.rglob("*"):
        assert is_plain(path.name), path
        if path.suffix in (".csv", ".json", ".html", ".toml", ".md", ".jsonl"):
            text = path.read_text()
            assert not OBEYED.search(text), path
            assert "<img src=x" not in text, path
            for cells in csv.reader(io.StringIO(text)) if path.suffix == ".csv" else ():
                assert all(safe_cell(cell) == cell for cell in cells), path


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--json"], ["--deidentify"]])
def test_segment_and_evaluate_write_nothing_that_is_obeyed(
    odd: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    argv = ["segment", str(odd), "--model", str(model), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*argv, "--workers", "0", *flags]) == 1  # the broken files are rows
    harmless(tmp_path / "out", "".join(capsys.readouterr()))
    done = len(list((tmp_path / "out").glob("*.nii.gz")))
    assert done == len(NAMES)
    main(["evaluate", "--pred", str(tmp_path / "out"), "--ref", str(tmp_path / "out"), "-o", str(tmp_path / "scores")])
    harmless(tmp_path / "scores", "".join(capsys.readouterr()))


@pytest.mark.slow
def test_preprocess_writes_nothing_that_is_obeyed(
    odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["preprocess", str(odd), "--domain", "ct", "--size", "32", "-o", str(tmp_path / "set"), "--workers", "0"]
    assert main([*argv, "--brain", "whole-head", "--set", "min_brain_mm2=0"]) == 1
    harmless(tmp_path / "set", "".join(capsys.readouterr()))


def test_a_missing_path_is_named_without_what_it_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "no\x1b[31mwhere", "--model", "x\u202e"]) == 2
    assert not OBEYED.search(capsys.readouterr().err)
    assert sys.stderr is not None
