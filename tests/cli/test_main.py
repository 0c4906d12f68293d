"""The command line: exit codes, one-line errors, stdout for data only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_sets import toy

from ctseg.cli import common
from ctseg.cli.main import COMMANDS, main
from ctseg.runs import read_header


@pytest.fixture(autouse=True)
def _fresh_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "STATE", common.State())


@pytest.fixture
def sets(sets: Path) -> Path:
    """The slice sets, of unlabelled CT."""
    (sets / "ct" / "masks.npy").unlink()
    return sets


def fails(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    """The command exits with 2, says one line that holds `words`, and writes nothing to stdout."""
    before = sorted(str(path) for path in Path().rglob("*"))
    assert main(["-q", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    for word in words:
        assert word in lines[0], err
    assert "Traceback" not in err
    assert sorted(str(path) for path in Path().rglob("*")) == before


MATCH = ["match", "--src", "mr", "--tgt", "ct"]
DAS = ["das-train", "--src", "mr", "--tgt", "ct", "-o", "das", "--preset", "smoke", "--set", "matched=false"]
TRAIN = ["synth-train", "--src", "mr", "--tgt", "ct", "-o", "run", "--preset", "smoke"]


def test_bad_usage_is_one_line_and_2(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, ["mach"], "No such command 'mach'")
    fails(capsys, [*MATCH, "-o", "p.csv", "--tpo", "3"], "No such option", "--tpo", "ctseg match --help")
    fails(capsys, ["match", "--src", "mr"], "Missing option")
    fails(capsys, [*MATCH, "-o", "p.csv", "--top", "many"], "--top", "valid integer")


@pytest.mark.slow
def test_bad_names_list_the_known(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(
        capsys,
        [*MATCH, "-o", "p.csv", "--similarity", "phsh"],
        "unknown similarity metric 'phsh'",
        "did you mean 'phash'",
    )
    fails(capsys, [*MATCH, "-o", "p.csv", "--set", "lamda=3"], "metric amd: unknown setting 'lamda'", "lambda_ham")
    fails(capsys, [*MATCH, "-o", "p.csv", "--set", "threshold=300"], "threshold=300", "less than or equal to 255")
    fails(capsys, [*TRAIN[:-1], "papr", "--set", "matched=false"], "unknown preset 'papr'", "did you mean 'paper'")
    fails(capsys, [*TRAIN, "--set", "matched=false", "--generator", "unet"], "unknown generator 'unet'", "known: amd")
    generator = [*TRAIN, "--set", "matched=false", "--generator", "resnet", "--set", "lambda_fda=15"]
    fails(capsys, generator, "no shared features", "--set lambda_fda=0")
    fails(capsys, [*DAS, "--set", "selection=dice"], "selection", "last")
    fails(capsys, [*TRAIN, "--set", "matched=false", "--set", "lambda_cic=3"], "unknown setting 'lambda_cic'")
    fails(capsys, [*TRAIN, "--set", "matched=false", "--device", "cuda:7"], "--device cuda:7", "--device auto")
    fails(capsys, ["plugins", "show", "ammd"], "unknown plugin 'ammd'", "did you mean 'amd'")


@pytest.mark.slow
def test_bad_sets_are_named(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, ["match", "--src", "nowhere", "--tgt", "ct", "-o", "p.csv"], "nowhere: no such folder")
    fails(
        capsys,
        ["match", "--src", "mr", "--tgt", "mr", "-o", "p.csv"],
        "--tgt mr: is a slice set of MR, where CT is expected",
        "give a slice set of CT",
    )
    toy(Path("small"), "ct", 1, size=24)
    fails(capsys, ["match", "--src", "mr", "--tgt", "small", "-o", "p.csv"], "32 x 32", "24 x 24", "same --size")
    fails(capsys, [*TRAIN[:4], "small", *TRAIN[5:], "--set", "matched=false"], "32 x 32", "24 x 24")
    fails(capsys, ["synth-train", "--src", "ct", *TRAIN[3:], "--set", "matched=false"], "ct: has no masks.npy")
    swapped = ["synth-train", "--src", "ct", "--tgt", "mr", *TRAIN[5:], "--set", "matched=false"]
    fails(capsys, swapped, "--tgt mr: is a slice set of MR, where CT is expected; swap --src and --tgt?")
    info = json.loads(Path("ct/dataset.json").read_text())
    Path("ct/dataset.json").write_text(json.dumps({**info, "schema": "ctseg-slices/7"}))
    fails(capsys, [*MATCH, "-o", "p.csv"], "schema 'ctseg-slices/7'", "preprocess again")


def test_bad_pairs_are_named(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, TRAIN, "no --pairs given", "ctseg match", "matched=false")
    Path("p.csv").write_text("source_id,target_id\nmr1,ct0_0\nnobody,ct0_0\n")
    fails(capsys, [*TRAIN, "--pairs", "p.csv"], "p.csv", "1 of 2 slices are not in mr (first: nobody)")
    Path("p.csv").write_text("a,b\n1,2\n")
    fails(capsys, [*TRAIN, "--pairs", "p.csv"], "p.csv: no column source_id, target_id")


@pytest.mark.slow
def test_bad_scans_are_named(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, ["preprocess", "nowhere", "-o", "set"], "nowhere: no such file or folder")
    Path("empty").mkdir()
    fails(capsys, ["preprocess", "empty", "-o", "set"], "empty")
    Path("text").mkdir()
    Path("text/a.nii.gz").write_text("this is no image")
    fails(capsys, ["preprocess", "text", "-o", "set"], "a.nii.gz")
    fails(
        capsys,
        ["preprocess", "text", "-o", "set", "--domain", "pet"],
        "'--domain'",
        "'pet' is not one of 'auto', 'mr', 'ct'",
    )
    fails(capsys, ["preprocess", "text", "-o", "set", "--slices", "9"], "--slices 9", "LOW:HIGH")
    fails(capsys, ["preprocess", "text", "-o", "set", "--split", "0.5:0.2"], "split", "sum to 1")
    fails(capsys, ["segment", "text", "--model", "mr", "-o", "masks"], "mr", "no model.safetensors")
    fails(capsys, ["evaluate", "--pred", "nowhere", "--ref", "empty", "-o", "ev"], "nowhere")


def test_an_existing_output_is_never_replaced_by_accident(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", *MATCH, "-o", "p.csv"]) == 0
    fails(capsys, [*MATCH, "-o", "p.csv"], "p.csv: exists already", "--overwrite")
    assert main(["-q", *MATCH, "-o", "p.csv", "--overwrite"]) == 0
    fails(capsys, ["preprocess", "mr", "-o", "ct"], "ct: exists already")


def test_pairs_go_to_stdout_when_asked_and_nothing_else_does(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*MATCH, "-o", "-", "--top", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "source_id,target_id,rank,distance,hamming,lesion_difference"
    assert len(out.splitlines()) == 1 + 2 * 8
    assert "16 pairs" in err
    assert main([*MATCH, "-o", "p.csv", "--json"]) == 0
    out, _ = capsys.readouterr()
    assert json.loads(out)["targets"] <= 6


@pytest.mark.slow
def test_both_trainings_resume_and_refuse_other_settings(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*TRAIN, "--set", "matched=false"]
    assert main(["-q", *argv]) == 0
    fails(capsys, argv, "run: exists already", "--resume")
    fails(capsys, [*argv, "--resume", "--seed", "3"], "--resume with other settings (seed differs)")
    assert main(["-q", "synthesize", "--model", "run", "--src", "mr", "-o", "pseudo"]) == 0
    das = ["das-train", "--src", "pseudo", "--tgt", "ct", "-o", "das", "--preset", "smoke", "--set", "matched=false"]
    assert main([*das, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["selection"] == "last"
    assert "without any CT label" in err
    fails(capsys, ["synthesize", "--model", "das", "--src", "mr", "-o", "x"], "holds a segmenter, expected a generator")
    fails(capsys, ["segment", "mr", "--model", "run", "-o", "x"], "holds a generator, expected a segmenter")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_ctrl_c_within_an_exec_is_130_and_no_signal(tmp_path: Path) -> None:
    """Python remembers an interrupt that came within an `exec`, as dataclasses have, and would end by the signal."""
    code = (
        "import ctseg.cli.main as cli\n"
        "def main():\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        "        return 130\n"
        "cli.main = main\n"
        "cli.run()\n"
    )
    (tmp_path / "with_run.py").write_text(code)
    (tmp_path / "without.py").write_text(code.replace("cli.run()", "raise SystemExit(main())"))
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    for module, expected in (("with_run", 130), ("without", -signal.SIGINT)):
        done = subprocess.run([sys.executable, "-m", module], timeout=120, check=False, env=place)
        assert done.returncode == expected, module


def test_every_command_has_help() -> None:
    for name in COMMANDS:
        assert main([name.replace("_", "-"), "--help"]) == 0


@pytest.mark.slow
def test_ctrl_c_is_130_and_leaves_nothing(sets: Path) -> None:
    code = (
        "import sys, ctseg.matching.pairs as pairs\n"
        "def stop(*args): raise KeyboardInterrupt\n"
        "pairs.pair_up = stop\n"
        "from ctseg.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *MATCH, "-o", "p.csv"], capture_output=True, text=True, cwd=sets)
    assert done.returncode == 130
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (sets / "p.csv").exists()


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(sets: Path) -> None:
    command = f"{sys.executable} -m ctseg match --src mr --tgt ct -o - | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=sets)
    assert done.returncode == 0
    assert done.stdout.startswith("source_id")
    assert "Traceback" not in done.stderr


def test_an_output_that_the_disk_refuses_is_one_line_and_2(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    fails(capsys, ["-q", *MATCH, "-o", "file/pairs.csv"], "file", "check the path, its permissions")
    fails(capsys, ["evaluate", "--pred", "mr", "--ref", "mr", "-o", "file/ev"], "file", "check the path")


def test_paths_come_from_stdin_lists_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.chdir(tmp_path)
    for name in ("a.nii", "b.nii"):
        Path(name).touch()
    Path("list.txt").write_text("a.nii\n\nb.nii\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("b.nii\n"))
    assert common.existing_paths(["-"]) == [Path("b.nii")]
    assert common.existing_paths(["list.txt"]) == [Path("a.nii"), Path("b.nii")]
    assert common.existing_paths(["*.nii"]) == [Path("a.nii"), Path("b.nii")]


def test_naming_the_presets_own_network_keeps_its_width() -> None:
    from ctseg.cli.training_settings import with_plugin

    preset = {"segmenter": "fcn", "segmenter_settings": {"width": 4}}
    assert with_plugin(preset, "segmenter", "fcn") == preset
    assert with_plugin(preset, "segmenter", "") == preset
    assert with_plugin(preset, "segmenter", "unet") == {"segmenter": "unet", "segmenter_settings": {}}


@pytest.mark.slow
def test_mr_as_the_source_of_a_preset_for_pseudo_ct_is_said(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = [*DAS, "--set", "freeze_batch_norm_from=1", "--overwrite"]
    assert main(held) == 0
    settings = ("brightness=0.2", "brightness_shift=0.0", "freeze_batch_norm_from=0")
    assert f"for MR add {' '.join(f'--set {setting}' for setting in settings)}" in capsys.readouterr().err
    assert main([*DAS, "--overwrite"]) == 0
    assert "for MR add" not in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--no-plugins", "reproduce", "table2"], ["reproduce", "table2", "--no-plugins"]])
def test_a_command_of_another_package_says_what_to_install(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "pip install ctseg-reproduce" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_signals_end_a_command_in_one_line(tmp_path: Path, number: int, code: int, word: str, workers: str) -> None:
    argv = [sys.executable, "-m", "ctseg", "phantom", "-o", "phantom", "--workers", workers]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".partial-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the workers get it, too
    else:
        process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode in (code, -number), error  # a shell shows both as 128 + number
    assert [line for line in error.splitlines() if line.strip()][-1].startswith(f"ctseg: error: {word}")
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_training_begun_again_keeps_the_earlier_run_until_it_is_finished(
    sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["-q", *TRAIN, "--set", "matched=false"]
    assert main(argv) == 0
    weights = Path("run/model.safetensors").read_bytes()
    Path("run/notes.txt").write_text("mine")

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ctseg.synthesis.train.save_model", stopped)
        assert main([*argv, "--overwrite", "--seed", "3"]) == 130
    (aside,) = sets.glob(".replaced-run-*")
    assert (aside / "model.safetensors").read_bytes() == weights
    assert not Path("run/model.safetensors").exists()
    assert main([*argv, "--resume", "--seed", "3"]) == 0
    assert not list(sets.glob(".replaced-run-*"))
    assert Path("run/model.safetensors").read_bytes() != weights
    assert {"report.html", "model-card.md", "notes.txt"} <= {path.name for path in Path("run").iterdir()}
    assert main([*argv, "--overwrite"]) == 0
    assert read_header(Path("run")).training["seed"] == 0
    assert Path("run/notes.txt").read_text() == "mine"
