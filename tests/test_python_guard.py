"""Functions called from Python lose nothing either: what they may write to, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_sets import head, mask

from ctseg.errors import InputError, OutputExistsError
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.locks import held
from ctseg.outputs import filled_folder, new_folder, read_mark, run_folder
from ctseg.runs import RUN_FILES, check_resume, start_run, write_toml

FEW = EvaluationSettings(resamples=100, permutations=100)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    mask(tmp_path / "truth", "a", head(tmp_path / "scans", "a")[1])
    return tmp_path / "truth"


def test_evaluate_refuses_inputs_and_letters_and_replaces_its_own(masks: Path, tmp_path: Path) -> None:
    before = (masks / "a.nii.gz").read_bytes()
    for out in (masks, tmp_path):
        with pytest.raises(InputError, match="is one of the inputs|holds the input"):
            evaluate(masks, masks, out, settings=FEW, overwrite=True)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "summary.json").write_text("dear")
    with pytest.raises(OutputExistsError, match="did not write"):
        evaluate(masks, masks, tmp_path / "letters", settings=FEW, overwrite=True)
    assert (tmp_path / "letters" / "summary.json").read_text() == "dear"
    assert (masks / "a.nii.gz").read_bytes() == before
    found = evaluate(masks, masks, tmp_path / "out", settings=FEW)
    assert found.out == tmp_path / "out"
    assert read_mark(tmp_path / "out").kind == "evaluate"
    with pytest.raises(OutputExistsError, match="exists already"):
        evaluate(masks, masks, tmp_path / "out", settings=FEW)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    evaluate(masks, masks, tmp_path / "out", settings=FEW, overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_command_s_own_folder_is_not_guarded_twice(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out", kind="evaluate") as folder:
        with filled_folder(folder, "evaluate", inputs=()) as inner:
            assert inner == folder
        with run_folder(folder / "fold_1", RUN_FILES, inputs=(), resume=False):
            pass


def run(folder: Path, resume: bool = False, inputs: tuple[Path, ...] = ()) -> None:
    with run_folder(folder, RUN_FILES, inputs=inputs, resume=resume):
        (folder / "metrics.jsonl").write_text("")
        (folder / "checkpoint.pt").write_text("")


def test_a_training_refuses_inputs_and_what_it_would_replace(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    for place in (tmp_path / "sets", tmp_path):
        with pytest.raises(InputError, match="is one of the inputs|holds the input"):
            run(place, inputs=(tmp_path / "sets",))
    run(tmp_path / "run")
    with pytest.raises(OutputExistsError, match="continue with resume=True or choose another run folder"):
        run(tmp_path / "run")
    run(tmp_path / "run", resume=True)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "report.html").write_text("dear")
    for resume in (False, True):
        with pytest.raises(OutputExistsError):
            run(tmp_path / "letters", resume)
    assert (tmp_path / "letters" / "report.html").read_text() == "dear"
    with new_folder(tmp_path / "masks", kind="segment") as made:
        (made / "a.nii.gz").write_text("")
    with pytest.raises(OutputExistsError, match="was written by `ctseg segment`"):
        run(tmp_path / "masks")
    with held(tmp_path / "busy"), pytest.raises(InputError, match="another call of ctseg writes there"):
        run(tmp_path / "busy")


def test_a_run_folder_of_start_run_is_taken(tmp_path: Path) -> None:
    start_run(tmp_path / "run", {"seed": 1}, overwrite=False, resume=False)
    run(tmp_path / "run")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "report.html").write_text("dear")
    with pytest.raises(OutputExistsError, match="no run of ctseg's"):
        start_run(tmp_path / "letters", {"seed": 1}, overwrite=True, resume=False)
    assert (tmp_path / "letters" / "report.html").read_text() == "dear"


def test_a_run_that_does_not_say_what_it_was_made_from_has_a_way_out(tmp_path: Path) -> None:
    write_toml(tmp_path / "config.toml", {"seed": 1, "tool": "ctseg 0.0.9"})
    with pytest.raises(InputError) as caught:
        check_resume(tmp_path, {"seed": 1, "inputs": {"source": {"images": "abc"}}})
    words = "begun by ctseg 0.0.9); finish it with that version, give another -o, or start again with --overwrite"
    assert words in str(caught.value)
    write_toml(tmp_path / "config.toml", {"seed": 1, "inputs": {"source": {"images": "abd"}}})
    with pytest.raises(InputError, match="source images.npy differs"):
        check_resume(tmp_path, {"seed": 1, "inputs": {"source": {"images": "abc"}}})
