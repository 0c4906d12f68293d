"""Ctrl-C, SIGTERM and SIGKILL in the middle of what a command writes; then the same call again gives the whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from signalled import SIGNALS, UNREACHED, leftovers, said_once, stopped_at, tree
from toy_sets import toy_inputs

from ctseg.cli.main import main
from ctseg.outputs import read_mark

pytestmark = pytest.mark.slow

SETS = ["--src", "mr", "--tgt", "ct"]
SMOKE = [*SETS, "--pairs", "pairs.csv", "--preset", "smoke", "--device", "cpu"]
ONE = ["--device", "cpu", "--workers", "0"]
STUDY = """
[[step]]
command = "match"
src = "HERE/mr"
tgt = "HERE/ct"
top = 1
output = "pairs.csv"

[[step]]
command = "synthesize"
model = "HERE/gen"
src = "HERE/mr"
device = "cpu"
output = "pseudo"
"""
TINY = [f"--set={name}" for name in ("mr_matrix=48", "mr_slices=31", "ct_matrix=64", "ct_slice_step_mm=12")]
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "preprocess": (["preprocess", "scans", "--size", "32", "--workers", "0"], []),
    "preprocess --share": (["preprocess", "scans", "--size", "32", "--workers", "0", "--share"], []),
    "match": (["-q", "match", *SETS, "--top", "1"], []),
    "synthesize": (["synthesize", "--model", "gen", "--src", "mr", "--device", "cpu"], []),
    "synthesize nifti": (["synthesize", "--model", "gen", "--src", "mr", "--device", "cpu", "--format", "nifti"], []),
    "das-train": (["das-train", *SMOKE], ["--resume"]),
    "finetune": (["finetune", "--data", "ct", "--folds", "2", "--preset", "smoke", "--device", "cpu"], ["--resume"]),
    "segment": (["segment", "scans", "--model", "seg", *ONE, "--probabilities"], ["--resume"]),
    "segment --brain-cache": (["segment", "scans", "--model", "seg", *ONE, "--brain-cache", "BESIDE"], ["--resume"]),
    "segment --share": (["segment", "scans", "--model", "seg", *ONE, "--share"], []),
    "bids": (["bids", "data", "OUT", "participant", "--model", "seg", *ONE], ["--resume"]),
    "evaluate": (["evaluate", "--pred", "truth", "--ref", "truth", "--images", "scans", "--set", "resamples=100"], []),
    "export": (["export", "seg", "--to", "onnx"], []),
    "export bundle": (["export", "seg", "--to", "monai-bundle"], []),
    "phantom": (["phantom", "--mr", "1", "--ct", "1", "--ct-test", "0", *TINY, "--workers", "0"], []),
    "run": (["run", "OUT/study.toml"], []),
    "models card": (["models", "card", "./seg"], []),
}
"""Command -> its words, and what is added when it is called again; OUT is its output, which else comes behind `-o`."""
MOMENTS = (1, 3, 6)
"""Whole files that a command has written when the signal comes."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything that the commands read; nothing of it may change."""
    with command_inputs(tmp_path_factory.mktemp("inputs")) as folder:
        yield folder


@contextmanager
def command_inputs(folder: Path) -> Iterator[Path]:
    """Make in a folder what the commands read, and work there."""
    with toy_inputs(folder):
        assert main(["synth-train", *SMOKE, "-o", "gen"]) == 0
        assert main(["das-train", *SMOKE, "-o", "seg"]) == 0
        scans = folder / "data/sub-01/ct"
        scans.mkdir(parents=True)
        shutil.copy("scans/a.nii.gz", scans / "sub-01_ct.nii.gz")
        Path("data/dataset_description.json").write_text('{"Name": "Heads", "BIDSVersion": "1.9.0"}')
        yield folder


def words(name: str, folder: Path, commands: Mapping[str, tuple[list[str], list[str]]] = COMMANDS) -> list[str]:
    """The call that writes below a folder."""
    argv, out = commands[name][0], folder / "out"
    if name == "run":
        out.mkdir(exist_ok=True)
        (out / "study.toml").write_text(STUDY.replace("HERE", str(Path.cwd())))
    placed = [word.replace("OUT", str(out)).replace("BESIDE", str(folder / "brains")) for word in argv]
    return placed if "OUT" in " ".join(argv) else [*placed, "-o", str(out)]


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """What a command leaves when nothing stops it; each is called once."""

    @cache
    def call(name: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("undisturbed")
        assert main(words(name, folder)) == 0
        return tree(folder)

    return call


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("moment", range(len(MOMENTS)))
def test_the_same_call_after_a_signal_gives_the_whole(
    inputs: Path, undisturbed: Callable[[str], dict[str, str]], tmp_path: Path, name: str, moment: int
) -> None:
    number, code, word = SIGNALS[(list(COMMANDS).index(name) + moment) % len(SIGNALS)]
    before, argv = tree(inputs), words(name, tmp_path)
    ended, err = stopped_at(argv, number, MOMENTS[moment])
    if ended == UNREACHED:
        return
    assert ended == code, err
    if word:
        assert said_once(err, word), err
        assert not leftovers(tmp_path)
    else:
        assert not err
    out = tmp_path / "out"
    mark = read_mark(out) if out.is_dir() else None
    assert name == "bids" or mark is None or not mark.finished
    assert main([*words(name, tmp_path), *COMMANDS[name][1]]) == 0
    assert tree(tmp_path) == undisturbed(name)
    assert not leftovers(tmp_path)
    assert tree(inputs) == before
