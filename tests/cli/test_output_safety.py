"""No command writes to what it reads, or over what ctseg did not write, whatever flags it gets."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.networks.fcn import FcnVgg16
from ctseg.outputs import MARK, new_folder, read_mark
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

pytestmark = pytest.mark.slow

SETS = ["--src", "mr", "--tgt", "ct"]
COMMANDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "preprocess": (
        ["preprocess", "scans", "--labels", "labels.csv", "--masks", "truth", "--splits", "splits.csv"],
        ("--overwrite",),
    ),
    "preprocess list": (["preprocess", "list.txt"], ("--overwrite",)),
    "preprocess glob": (["preprocess", "scans/*.nii.gz"], ("--overwrite",)),
    "synth-train": (["synth-train", *SETS, "--pairs", "pairs.csv", "--from", "run"], ("--overwrite", "--resume")),
    "synthesize": (["synthesize", "--model", "run", "--src", "mr"], ("--overwrite",)),
    "synthesize nifti": (
        ["synthesize", "--model", "run/model.safetensors", "--src", "mr", "--format", "nifti"], ("--overwrite",)
    ),
    "das-train": (
        ["das-train", *SETS, "--pairs", "pairs.csv", "--source-list", "list.txt", "--from", "run"],
        ("--overwrite", "--resume"),
    ),
    "das-train pretrained": (["das-train", *SETS, "--pretrained", "vgg.pth"], ("--overwrite", "--resume")),
    "finetune": (["finetune", "--data", "ct", "--from", "run"], ("--overwrite", "--resume")),
    "segment": (["segment", "scans", "--model", "run"], ("--overwrite", "--resume")),
    "segment file": (["segment", "scans/a.nii.gz", "--model", "run/model.safetensors"], ("--overwrite", "--resume")),
    "segment zip": (["segment", "scans.zip", "--model", "run"], ("--overwrite", "--resume")),
    "segment set": (["segment", "ct", "--model", "run"], ("--overwrite", "--resume")),
    "evaluate": (
        [
            "evaluate", "--pred", "masks", "--pred", "scans", "--ref", "truth", "--cases", "list.txt", "--group",
            "splits.csv", "--labels", "labels.csv", "--images", "scans",
        ],
        ("--overwrite",),
    ),
    "implant": (["implant", "scans", "--model", "run"], ()),
    "recovery-study": (["recovery-study", "scans", "truth", "--model", "run"], ()),
    "source-subsets": (["source-subsets", "--src", "mr", "--pairs", "pairs.csv"], ("--overwrite",)),
    "planted-faults": (["planted-faults", "scans", "--model", "run"], ("--overwrite",)),
    "models card": (["models", "card", "run"], ("--overwrite",)),
    "export": (["export", "run"], ("--overwrite",)),
    "bids": (["bids", "data", "OUT", "participant", "--model", "run"], ("--overwrite", "--resume")),
    "location-prior": (["location-prior", "--src", "mr", "--data", "ct"], ("--overwrite",)),
    "shuffle-labels": (["shuffle-labels", "--src", "mr"], ("--overwrite",)),
    "reproduce": (
        [
            "reproduce", "table4", "--scale", "smoke", *SETS, "--test", "scans", "--truth", "truth", "--import",
            "table4-outcomes.csv",
        ],
        (),
    ),
    "phantom": (["phantom"], ("--overwrite",)),
    "demo": (["demo"], ()),
    "plugins new": (["plugins", "new", "mine"], ()),
}  # fmt: skip
FOLDERS = ("scans", "truth", "masks", "mr", "ct", "run", "data")
READ = {name: [word for word in argv if Path(word).suffix or word in FOLDERS] for name, (argv, _) in COMMANDS.items()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with something of every kind that a command reads; nothing in it needs to be of use."""
    monkeypatch.setattr(common, "STATE", common.State())
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    files = [
        "scans/a.nii.gz", "scans/deep/b.nii.gz", "truth/a.nii.gz", "masks/a.nii.gz", "run/model.safetensors",
        "run/config.toml", "letters/dear.txt", "pairs.csv", "labels.csv", "splits.csv", "scans.zip", "vgg.pth",
        "data/README", "data/sub-01/ct/sub-01_ct.nii.gz",
        "table4-outcomes.csv", *(f"{name}/{file}" for name in ("mr", "ct") for file in
        ("dataset.json", "slices.csv", "images.npy", "masks.npy")),
    ]  # fmt: skip
    for name in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"the bytes of {name}")
    Path("data/dataset_description.json").write_text('{"Name": "Heads"}')
    Path("list.txt").write_text("scans/a.nii.gz\nscans/deep/b.nii.gz\n")
    return tmp_path


def writing(argv: list[str], place: str) -> list[str]:
    """The call that writes to a place."""
    return [place if word == "OUT" else word for word in argv] if "OUT" in argv else [*argv, "-o", place]


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: what it is, and a digest of its bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        text = str(path.readlink()) if path.is_symlink() else "folder" if path.is_dir() else ""
        found[str(path)] = text or hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def refused(argv: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 2, says one line that names no flag that would do harm, and changes no byte."""
    before = tree(here)
    capsys.readouterr()
    assert main(argv) == 2, argv
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert "choose another output" in lines[0]
    assert "--overwrite" not in err
    assert "--resume" not in err
    assert tree(here) == before


def places(name: str) -> list[str]:
    """Outputs that would cost something: inputs, what holds one, links to one, letters."""
    Path("alias").symlink_to("letters")
    Path("linked").mkdir()
    os.link("scans/a.nii.gz", "linked/a.nii.gz")
    Path("pointing").mkdir()
    Path("pointing/a.nii.gz").symlink_to(Path("scans/a.nii.gz").absolute())
    found = ["letters", "alias", "letters/dear.txt", "linked", "pointing", ".", "..", str(Path().absolute())]
    for number, word in enumerate(word for word in READ[name] if Path(word).exists()):
        Path(f"to-{number}").symlink_to(word)
        found += [word, f"to-{number}", f"./letters/../{word}", str(Path(word).parent)]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("name", COMMANDS)
def test_no_output_costs_an_input_or_a_letter(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv, flags = COMMANDS[name]
    for place in places(name):
        for given in [[flag] for flag in flags] or [[]]:
            refused([*writing(argv, place), *given], here, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_marked_folder_that_holds_an_input_is_refused(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv, flags = COMMANDS[name]
    kind = argv[0]
    for word in (word for word in READ[name] if Path(word).is_dir()):
        with new_folder(Path("made"), kind=kind):
            pass
        shutil.copy(Path("made", MARK), Path(word, MARK))
        for given in ([], list(flags)):
            refused([*writing(argv, word), *given], here, capsys)
        Path(word, MARK).unlink()
        shutil.rmtree("made")


def test_paths_on_stdin_are_inputs(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    for argv in (["preprocess", "-"], ["segment", "-", "--model", "run"]):
        monkeypatch.setattr("sys.stdin", io.StringIO("scans/a.nii.gz\n"))
        refused([*argv, "-o", "scans", "--overwrite"], here, capsys)


@pytest.mark.parametrize("given", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    "place",
    ["mr/slices.csv", "ct/images.npy", "mr/new.csv", "to-mr/new.csv", "mr", "letters", "letters/dear.txt", "hard.csv",
     "soft.csv", "list.txt", "/dev/null"],
)  # fmt: skip
def test_match_writes_over_nothing_but_pairs(
    place: str, given: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.link("mr/slices.csv", "hard.csv")
    Path("soft.csv").symlink_to("mr/slices.csv")
    Path("to-mr").symlink_to("mr")
    refused(["match", *SETS, "-o", place, *given], here, capsys)


def test_brain_masks_are_kept_in_no_folder_of_the_users(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("scans", ".", "letters", "run"):
        refused(["segment", "scans", "--model", "run", "-o", "new", "--brain-cache", place], here, capsys)


def test_a_studys_memory_costs_no_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("study.toml").write_text('[[step]]\ncommand = "phantom"\noutput = "letters"\n')
    Path("study.state.json").write_text("dear")
    before = tree(here)
    for given in ([], ["--fresh"]):
        assert main(["run", "study.toml", *given]) == 2
        assert "study.state.json: ctseg did not write it" in capsys.readouterr().err
        assert tree(here) == before
    Path("study.state.json").unlink()
    for given in ([], [], ["--fresh"]):
        assert main(["run", "study.toml", *given]) == 2
        early, late = "would be refused: letters exists", "letters: exists already and holds files that ctseg did not"
        assert (late if given else early) in capsys.readouterr().err
        assert Path("letters/dear.txt").read_text() == "the bytes of letters/dear.txt"


# With scans and a model that are of use


@pytest.fixture
def model() -> str:
    shutil.rmtree("run")
    made = PreprocessSettings(size=32, fov_mm=240.0).model_dump(mode="json")
    header = ModelHeader("segmenter", "fcn", {"width": 4}, "ctseg", "0.1.0", {"preprocess": made, "intensity": {}})
    save_model(Path("run/model.safetensors"), FcnVgg16(width=4), header)
    return "run"


@pytest.fixture
def heads() -> str:
    """Two stripped heads of 3 mm pixels and 2 mm slices."""
    rows, cols, height = np.mgrid[:64, :64, :40] - np.array([31.5, 31.5, 19.5])[:, None, None, None]
    inside = (rows / 26) ** 2 + (cols / 20) ** 2 + (height / 19) ** 2 < 1
    grain = np.random.default_rng(0).integers(-6, 7, inside.shape)
    Path("heads").mkdir()
    for name in "ab":
        image = nib.Nifti1Image(np.where(inside, 32 + grain, -1024).astype(np.int16), np.diag([3.0, 3.0, 2.0, 1.0]))
        nib.save(image, f"heads/{name}.nii.gz")
    return "heads"


CPU = ["--workers", "0", "--device", "cpu"]


def test_segment_replaces_and_continues_its_own_and_keeps_notes(model: str, heads: str) -> None:
    before = tree(Path(heads))
    argv = ["-q", "segment", heads, "--model", model, "-o", "made", *CPU]
    assert main(argv) == 0
    Path("made/notes.txt").write_text("mine")
    Path("made/a_corrected.nii.gz").write_text("mine")
    assert main(argv) == 2
    for flag in ("--resume", "--overwrite"):
        assert main([*argv, flag]) == 0
        assert Path("made/notes.txt").read_text() == Path("made/a_corrected.nii.gz").read_text() == "mine"
    assert main([*argv[:2], f"{heads}/a.nii.gz", *argv[3:], "--overwrite"]) == 0
    assert not Path("made/b.nii.gz").exists()
    assert tree(Path(heads)) == before
    assert not list(Path().glob(".replaced-*"))


def test_an_output_within_the_input_is_not_read_as_input(
    model: str, heads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["segment", heads, "--model", model, "-o", f"{heads}/masks", *CPU]
    before = tree(Path(heads))
    assert main(argv) == 0
    for flag in ("--resume", "--overwrite"):
        capsys.readouterr()
        assert main([*argv, flag]) == 0
        err = capsys.readouterr().err
        assert "left out: heads/masks: the output folder" in err
        assert "2 of 2 scans" in err
    assert {name: text for name, text in tree(Path(heads)).items() if "heads/masks" not in name} == before


def test_a_segmentation_that_is_killed_keeps_the_earlier_one(model: str, heads: str, here: Path) -> None:
    argv = ["segment", heads, "--model", model, "-o", "made", *CPU]
    assert main(["-q", *argv]) == 0
    old = Path("made/a.nii.gz").read_bytes()
    code = """
        import os, signal, sys
        import ctseg.inference.finish as finish
        from ctseg.cli.main import main
        write = finish.write_case
        def stop(folder, case, *rest):
            if case == "b":
                os.kill(os.getpid(), signal.SIGKILL)
            return write(folder, case, *rest)
        finish.write_case = stop
        main(sys.argv[1:])
    """
    call = [sys.executable, "-c", textwrap.dedent(code), *argv, "--overwrite"]
    assert subprocess.run(call, check=False, timeout=120, capture_output=True).returncode == -9
    (aside,) = Path().glob(".replaced-made-*")
    assert (aside / "a.nii.gz").read_bytes() == old
    assert {"a.nii.gz", "b.nii.gz", "volumes.csv"} <= {path.name for path in aside.iterdir()}
    assert main(["-q", *argv, "--resume"]) == 0
    assert {"a.nii.gz", "b.nii.gz"} <= {path.name for path in Path("made").iterdir()}
    mark = read_mark(Path("made"))
    assert mark is not None
    assert mark.finished
    assert not list(Path().glob(".*-made-*"))


def test_preprocess_and_evaluate_replace_their_own_and_keep_notes(heads: str) -> None:
    made = ["-q", "preprocess", heads, "-o", "set", "--size", "32", "--domain", "ct", "--workers", "0"]
    Path("reference").mkdir()
    for name in "ab":
        image = nib.load(f"{heads}/{name}.nii.gz")
        nib.save(nib.Nifti1Image((image.get_fdata() > 35).astype(np.uint8), image.affine), f"reference/{name}.nii.gz")
    measured = ["-q", "evaluate", "--pred", "reference", "--ref", "reference", "-o", "reference/evaluation"]
    for argv in (made, measured):
        folder = Path(argv[argv.index("-o") + 1])
        assert main(argv) == 0
        (folder / "notes.txt").write_text("mine")
        assert main(argv) == 2
        assert main([*argv, "--overwrite"]) == 0
        assert (folder / "notes.txt").read_text() == "mine"
        assert main([*argv[:-1], argv[-1], "--overwrite"]) == 0
    assert main([*measured[:-1], "set", "--overwrite"]) == 2
    assert Path("set/images.npy").exists()


def test_a_working_folder_that_is_gone_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = here / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    out.rmdir()
    assert main(["phantom", "-o", "."]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "ctseg: error: the folder that this was called in is gone (replaced or removed); cd into it again"
    ]


@pytest.mark.parametrize("place", [".", "..", "../../out"])
def test_the_folder_that_a_command_is_called_in_is_not_moved(
    model: str, heads: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """With `-o .` the new masks had gone into the earlier output, which was put aside under another name."""
    call = ["-q", "segment", str(Path(heads).absolute()), "--model", str(Path(model).absolute()), *CPU]
    out = here / "out"
    assert main([*call, "-o", str(out)]) == 0
    (out / "deep").mkdir()
    before = tree(here)
    monkeypatch.chdir(out if place == "." else out / "deep")
    capsys.readouterr()
    for argv in ([*call, "-o", place, "--overwrite"], ["plugins", "new", "mine", "-o", str(out / "deep")]):
        if argv[0] == "-q" or place != ".":
            assert main(argv) == 2
            assert "is the folder that this is called in, or holds it, and would be replaced" in capsys.readouterr().err
            assert tree(here) == before
