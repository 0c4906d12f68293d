"""What somebody has edited in an output is neither written over nor taken for a result; copied marks claim nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from model_files import weights
from toy_sets import toy_inputs

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.errors import InputError, OutputExistsError
from ctseg.files import write_text
from ctseg.inference import finish, results
from ctseg.outputs import (
    MARK,
    Mark,
    continued_folder,
    growing_folder,
    guard_output,
    read_mark,
    refuse_changed,
    remove_output,
    what_changed,
    whole_folder,
    write_file_mark,
)
from ctseg.outputs.changed import is_another_folder, look, looks
from ctseg.outputs.guard import Output
from ctseg.outputs.mark import write_mark
from ctseg.runs import read_metrics, start_run

CPU = ["--workers", "0", "--device", "cpu"]
SEGMENT = ["segment", "scans", "--model", "run", "-o", "made", "--threshold", "0.4", *CPU]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy inputs, and a finished segmentation of them."""
    place = tmp_path_factory.mktemp("made")
    with toy_inputs(place):
        weights(place / "run" / "model.safetensors")
        assert main(SEGMENT) == 0
    return place


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil, as working folder."""
    monkeypatch.setattr(common, "STATE", common.State())
    shutil.copytree(made, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def edited_mask(path: Path = Path("made/a.nii.gz")) -> None:
    """Half of a mask taken away by hand."""
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    values[:20] = 0
    assert values.any()
    nib.save(nib.Nifti1Image(values, image.affine, image.header), path)


def replaced(name: str, old: str, new: str) -> Callable[[], None]:
    """An edit of a text file, once."""

    def edit() -> None:
        text = Path(name).read_text()
        assert old in text
        Path(name).write_text(text.replace(old, new, 1))

    return edit


TABLE = Path("made/volumes.csv")
EDITS: dict[str, tuple[Callable[[], None], str]] = {
    "mask": (edited_mask, "a.nii.gz"),
    "preview": (lambda: Path("made/a.png").write_text("mine"), "a.png"),
    "volume": (replaced("made/volumes.csv", "a,ok,1260.0", "a,ok,12.0"), "volumes.csv"),
    "column": (lambda: TABLE.write_text(TABLE.read_text().replace("\n", ",seen\n")), "volumes.csv"),
    "semicolons": (lambda: TABLE.write_text(TABLE.read_text().replace(",", ";")), "volumes.csv"),
    "no rows": (lambda: TABLE.write_text(""), "volumes.csv"),
    "row": (replaced("made/volumes.json", '"ml": 1260.0', '"ml": 1261.0'), "volumes.json"),
    "row's note": (replaced("made/volumes.json", '"note": ""', '"note": "seen"'), "volumes.json"),
    "row's case": (replaced("made/volumes.json", '"case": "b"', '"case": "q"'), "volumes.json"),
    "row twice": (replaced("made/volumes.json", '"case": "b"', '"case": "a"'), "volumes.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("unfinished", [False, True], ids=["finished", "killed"])
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_kept_and_made_again_by_resume(
    name: str, unfinished: bool, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, file = EDITS[name]
    before = {path.name: look(path) for path in Path("made").iterdir() if path.name != MARK}
    before = {name: seen for name, seen in before.items() if seen}
    edit()
    if unfinished:
        replaced("made/.ctseg.json", '"finished": true', '"finished": false')()
    mine = Path("made", file).read_bytes()
    assert main([*SEGMENT, "--resume"]) == 0
    assert f"{file}: was changed since ctseg wrote it; kept as {file}.changed" in capsys.readouterr().err
    assert Path("made", f"{file}.changed").read_bytes() == mine
    assert {path.name: look(path) for path in Path("made").iterdir() if path.name in before} == before
    assert sorted(path.name for path in Path("made").iterdir()) == sorted([*before, MARK, "3d", f"{file}.changed"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mask", "column", "row"])
def test_an_edit_is_kept_by_overwrite(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit, file = EDITS[name]
    edit()
    mine = Path("made", file).read_bytes()
    assert main([*SEGMENT, "--overwrite"]) == 0
    assert f"kept as {file}.changed" in capsys.readouterr().err
    assert Path("made", f"{file}.changed").read_bytes() == mine
    assert main([*SEGMENT, "--overwrite"]) == 0
    assert Path("made", f"{file}.changed").read_bytes() == mine


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"threshold": 0.4', '"threshold": 0.5', "settings or models were changed"),
        ('"segmenter": "unet"', '"segmenter": "fcn"', "settings or models were changed"),
        ('"ml": 1260.0', '"ml": NaN', "a row of cases is broken"),
        ('"ml": 1260.0', '"ml": 1e999', "a row of cases is broken"),
        ('"ml": 1260.0', '"ml": true', "a row of cases is broken"),
    ],
)
def test_a_refused_resume_leaves_the_output_finished(
    old: str, new: str, says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replaced("made/volumes.json", old, new)()
    before = Path("made", MARK).read_bytes()
    for threshold in ("0.4", "0.5"):
        assert main([*SEGMENT, "--threshold", threshold, "--resume"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
    assert Path("made", MARK).read_bytes() == before


@pytest.mark.slow
def test_other_settings_leave_the_output_finished(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("made", MARK).read_bytes()
    assert main([*SEGMENT, "--threshold", "0.3", "--resume"]) == 2
    assert "threshold 0.4, now 0.3" in capsys.readouterr().err
    assert Path("made", MARK).read_bytes() == before


def swapped(new: str) -> Callable[[], object]:
    """The output moved away, and something else in its place."""

    def act() -> None:
        Path("new").rename("moved")
        if new == "link":
            Path("new").symlink_to("scans")
        elif new == "folder":
            Path("new").mkdir()
        elif new == "copy":
            shutil.copytree("moved", "new")

    return act


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("new", ["nothing", "link", "folder", "copy"])
def test_an_output_that_is_moved_meanwhile_is_no_success(
    new: str, at: int, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in Path("scans").iterdir()}
    write, count = results.write_json, [0]

    def prepared(*args: object, **more: object) -> object:
        count[0] += 1
        if count[0] == at:
            swapped(new)()
        return checked(*args, **more)

    checked = finish.check_still_there
    monkeypatch.setattr(finish if at < 3 else results, "check_still_there" if at < 3 else "write_json", prepared)
    if at == 3:
        count[0], checked = 2, write
    argv = ["new" if word == "made" else word for word in SEGMENT]
    assert main(argv) == 2
    assert "new: was moved, removed or replaced while ctseg wrote there" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in Path("scans").iterdir()} == before or at == 3


@pytest.mark.slow
def test_rows_of_earlier_calls_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("scans/a.nii.gz").rename("scans/c.nii.gz")
    assert main([*SEGMENT, "--resume"]) == 0
    assert "made: holds a of earlier calls, too" in capsys.readouterr().err


@pytest.mark.slow
def test_a_copied_mark_claims_no_scan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("scans", "others")
    shutil.copy(Path("made", MARK), Path("others", MARK))
    before = {path.name: path.read_bytes() for path in Path("others").iterdir()}
    for flag in ("--overwrite", "--resume"):
        argv = ["segment", "scans/b.nii.gz", *SEGMENT[2:]]
        argv[argv.index("made")] = "others"
        assert main([*argv, flag]) == 2
        assert "others: exists already and holds files that ctseg did not write" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in Path("others").iterdir()} == before


@pytest.mark.slow
def test_changed_pairs_are_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["match", "--src", "mr", "--tgt", "ct", "-o", "p.csv"]
    assert main(argv) == 0
    made = Path("p.csv").read_text()
    Path("p.csv").write_text(made.replace("mr0,", "mr1,"))
    assert main([*argv, "--overwrite"]) == 0
    assert "p.csv: was changed since ctseg wrote it; kept as p.csv.changed" in capsys.readouterr().err
    assert Path("p.csv").read_text() == made
    assert Path("p.csv.changed").read_text() == made.replace("mr0,", "mr1,")


# Without a command


def output(path: Path, kind: str = "kind", **given: bool) -> Output:
    return guard_output(path, kind, **given)


def test_whole_folders_keep_what_was_changed_and_others_outputs(tmp_path: Path) -> None:
    place = tmp_path / "out"
    for content in ("one", "two"):
        with whole_folder(output(place, overwrite=True)) as folder:
            write_text(folder / "table.csv", content)
            write_text(folder / "page.html", content)
        if content == "one":
            (place / "table.csv").write_text("mine")
    assert (place / "table.csv").read_text() == "two"
    assert (place / "table.csv.changed").read_text() == "mine"
    assert what_changed(place) == ""
    (place / "page.html").unlink()
    assert "page.html gone" in what_changed(place)


def test_patterns_of_a_finished_output_claim_only_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "ft"
    patterns = ["fold_*/model", "fold_*/note"]
    with growing_folder(output(place), patterns) as folder:
        write_text(folder / "fold_1" / "model", "one")
    shutil.copytree(place / "fold_1", place / "fold_best")
    with whole_folder(output(place / "fold_9", "other")) as folder:
        write_text(folder / "model", "another command's")
    with pytest.raises(OutputExistsError, match="fold_(best|9)/model: ctseg did not write it"):  # noqa: SIM117
        with growing_folder(output(place, overwrite=True), patterns):
            pass
    with growing_folder(output(place, overwrite=True), ["fold_1/model"]) as folder:
        write_text(folder / "fold_1" / "model", "two")
    assert (place / "fold_best" / "model").read_text() == "one"
    assert (place / "fold_9" / "model").read_text() == "another command's"
    assert not list(tmp_path.glob(".replaced-*"))


@pytest.mark.parametrize("name", ["../mine.csv", "linked/mine.csv", "{outside}"])
def test_a_mark_reaches_no_file_outside(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "mine.csv"
    outside.write_text("mine")
    place = tmp_path / "out"
    with growing_folder(output(place), ["a.csv"]) as folder:
        write_text(folder / "a.csv", "a")
    (place / "linked").symlink_to(tmp_path)
    mark = read_mark(place)
    assert mark is not None
    write_mark(place, type(mark)(mark.kind, mark.files, made={**mark.made, name.format(outside=outside): "3 abc"}))
    with growing_folder(output(place, resume=True), ["a.csv"]):
        pass
    assert [path.name for path in tmp_path.glob("mine*")] == ["mine.csv"]


def test_how_long_it_took_is_no_change(tmp_path: Path) -> None:
    texts = {
        "a.json": '{{"seconds": {}, "ml": 2}}',
        "a.csv": "case,seconds,ml\na,{},2\n",
        "a.state.json": "{}",
        "a.dcm": "\x08\x003\x00TM\x04\x00{}mask",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text.format(1.5))
    (tmp_path / "a.html").write_text("page")
    seen = looks(tmp_path, [*texts, "a.html"])
    for name, text in texts.items():
        (tmp_path / name).write_text(text.format(12.25))
    assert looks(tmp_path, [*texts, "a.html"]) == seen
    (tmp_path / "a.csv").write_text("case,seconds,ml\na,1.5,3\n")
    assert not is_another_folder(tmp_path, seen)
    (tmp_path / "a.json").write_text('{"seconds": 1.5, "ml": 3}')
    (tmp_path / "a.dcm").write_text(texts["a.dcm"].format(1.5).replace("mask", "maks"))
    assert not is_another_folder(tmp_path, seen)
    (tmp_path / "a.html").unlink()
    assert is_another_folder(tmp_path, seen)


def continued(place: Path, text: str, *names: str) -> None:
    """A call that goes on with a folder, as those of `demo` and `reproduce` do."""
    with continued_folder(output(place, resume=True), ["study.toml", "*.csv"]) as folder:
        for name in names:
            write_text(folder / name, text)
            write_text(folder / name, text)  # a second time in one call is no edit


def test_a_folder_that_is_gone_on_with_keeps_edits_and_what_the_user_puts_there(tmp_path: Path) -> None:
    place = tmp_path / "out"
    continued(place, "one", "study.toml", "a.csv", "b.csv")
    continued(place, "two", "study.toml", "a.csv", "b.csv")
    assert [path.name for path in place.glob("*.changed*")] == []
    (place / "study.toml").write_text("mine")
    (place / "a.csv").write_text("mine")
    (place / "own.csv").write_text("mine")
    continued(place, "three", "study.toml", "a.csv", "own.csv", "d.csv")
    kept = {path.name: path.read_text() for path in place.glob("*.changed")}
    assert kept == dict.fromkeys(("study.toml.changed", "a.csv.changed", "own.csv.changed"), "mine")
    assert {path.read_text() for path in (place / "a.csv", place / "own.csv", place / "study.toml")} == {"three"}
    assert (place / "b.csv").read_text() == "two"
    (place / "b.csv").write_text("mine")
    assert what_changed(place) == f"{place} (b.csv changed)"
    continued(place, "four", "b.csv")
    assert (place / "b.csv.changed").read_text() == "mine"


def test_a_folder_that_is_gone_on_with_after_a_kill_keeps_edits_alone(tmp_path: Path) -> None:
    place = tmp_path / "out"
    continued(place, "one", "study.toml", "a.csv")
    with pytest.raises(KeyboardInterrupt), continued_folder(output(place, resume=True), ["study.toml", "*.csv"]):
        write_text(place / "a.csv", "two")
        write_text(place / "b.csv", "two")
        raise KeyboardInterrupt
    (place / "study.toml").write_text("mine")
    continued(place, "three", "study.toml", "a.csv", "b.csv")
    assert [path.name for path in place.glob("*.changed*")] == ["study.toml.changed"]


def test_a_removed_output_keeps_what_was_changed_be_it_a_folder_or_a_file(tmp_path: Path) -> None:
    with whole_folder(output(tmp_path / "out")) as folder:
        write_text(folder / "a.csv", "one")
    pairs = write_text(tmp_path / "pairs.csv", "one")
    write_file_mark(pairs, Mark("match", ("pairs.csv",)).seen(tmp_path))
    for path in (tmp_path / "out" / "a.csv", pairs):
        path.write_text("mine")
    for path in (tmp_path / "out", pairs, tmp_path / "nothing"):
        remove_output(path)
    files = [path for path in tmp_path.rglob("*.csv*") if not path.name.startswith(".")]
    assert sorted(path.name for path in files) == ["a.csv.changed", "pairs.csv.changed"]
    write_text(pairs, "one")
    remove_output(pairs)
    assert not pairs.exists()


@pytest.mark.parametrize("name", ["images.npy", "model.safetensors", "page.html", "model.ts", "a.dcm"])
def test_an_edit_of_any_file_is_kept_however_large_it_is(name: str, tmp_path: Path) -> None:
    place, made = tmp_path / "out", bytes(3 << 20)
    with whole_folder(output(place)) as folder:
        (folder / name).write_bytes(made)
    mine = made[:2_000_000] + b"1" + made[2_000_001:]
    (place / name).write_bytes(mine)
    assert what_changed(place) == f"{place} ({name} changed)"
    with whole_folder(output(place, overwrite=True)) as folder:
        (folder / name).write_bytes(made)
    assert (place / f"{name}.changed").read_bytes() == mine
    assert (place / name).read_bytes() == made
    assert what_changed(place) == ""


def test_a_run_that_starts_again_keeps_pictures_of_the_users(tmp_path: Path) -> None:
    start_run(tmp_path / "run", {}, overwrite=False, resume=False)
    for name in ("epoch_0001.png", "epoch_best.png"):
        write_text(tmp_path / "run" / "samples" / name, name)
    start_run(tmp_path / "run", {}, overwrite=True, resume=False)
    assert [path.name for path in (tmp_path / "run" / "samples").iterdir()] == ["epoch_best.png"]


def test_metrics_without_an_epoch_are_left_out(tmp_path: Path) -> None:
    rows = [{}, {"epoch": 0, "loss": 1.0}, {"epoch": "1"}, []]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_metrics(tmp_path) == [{"epoch": 0, "loss": 1.0}]


@pytest.mark.slow
def test_an_evaluation_and_an_inspection_say_what_was_edited(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["evaluate", "--pred", "made", "--ref", "truth", "-o", "ev"]
    assert main(argv) == 0
    assert "changed since" not in capsys.readouterr().err
    edited_mask()
    assert main([*argv, "--overwrite"]) == 0
    said = "made: a.nii.gz changed since `ctseg segment` wrote it: not the model's own"
    assert said in capsys.readouterr().err
    assert main(["inspect", "made"]) == 0
    assert "made (a.nii.gz changed) since ctseg wrote it" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["new", "new/cache", "linked"])
def test_a_brain_cache_is_no_part_of_the_output(cache: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("linked").symlink_to("new")
    argv = ["new" if word == "made" else word for word in SEGMENT]
    assert main([*argv, "--brain-cache", cache]) == 2
    assert f"--brain-cache {cache}: is, or lies in, the output new" in capsys.readouterr().err
    assert not Path("new").exists()


@pytest.mark.slow
def test_a_picture_of_another_output_is_not_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("made/a.png").read_bytes()
    Path("linked.png").symlink_to("made/a.png")
    for place in ("made/a.png", "linked.png"):
        assert main(["inspect", "scans/a.nii.gz", "--thumbnail", place, "--overwrite"]) == 2
        assert f"{place}: belongs to what `ctseg segment` wrote into" in capsys.readouterr().err
        assert Path("made/a.png").read_bytes() == before
    assert main(["inspect", "scans/a.nii.gz", "--thumbnail", "made/mine.png"]) == 0


@pytest.mark.parametrize("place", ["~/new", "~", "~someone/new", "-"])
@pytest.mark.parametrize(
    "argv", [["phantom"], ["segment", "scans"], ["match", "--src", "mr", "--tgt", "ct", "-o", "p.csv", "--report"]]
)
def test_what_stands_for_another_place_is_no_output(
    place: str, argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("scans", "mr", "ct"):
        Path(folder).mkdir()
    assert main([*argv, place] if argv[0] == "match" else [*argv, "-o", place]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ctseg: error: {place}: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct", "mr", "scans"]


def test_edited_measures_are_not_gone_on_with(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with growing_folder(output(place), ["implants.json", "implants.md"]) as folder:
        write_text(folder / "implants.json", '{"ml": 2}')
        write_text(folder / "implants.md", "2 mL")
    refuse_changed(place, ["implants.json"])
    (place / "implants.md").write_text("mine")
    refuse_changed(place, ["implants.json"])
    (place / "implants.json").write_text('{"ml": 3}')
    with pytest.raises(InputError, match="implants.json: was changed since ctseg wrote it; move it"):
        refuse_changed(place, ["implants.json"])
    (place / "implants.json").unlink()
    refuse_changed(place, ["implants.json"])
