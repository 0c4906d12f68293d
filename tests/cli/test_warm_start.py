"""`--from` and `--pretrained`: first weights that are not random, and what a run says of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.files import read_json, read_toml, write_json
from ctseg.networks.fcn import VGG16_KEYS, FcnVgg16
from ctseg.runs import read_header
from ctseg.segmentation import train as adaptation
from ctseg.synthesis import train as synthesis

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet")]

SMALL = ["--preset", "smoke", "--device", "cpu", "--set", "matched=false"]


def train(command: str, out: str, *more: str) -> int:
    return main([command, "--src", "mr", "--tgt", "ct", "-o", out, *SMALL, *more])


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(f"{run}/model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("command", "module", "function", "place"),
    [("das-train", adaptation, "train_adaptation", 3), ("synth-train", synthesis, "train_synthesis", 3)],
)
def test_the_first_weights_are_those_of_the_run(
    sets: Path, monkeypatch: pytest.MonkeyPatch, command: str, module: Any, function: str, place: int
) -> None:
    assert train(command, "old", "--seed", "3") == 0
    first: list[dict[str, torch.Tensor]] = []
    real = getattr(module, function)

    def look(*args: Any, **rest: Any) -> Any:
        first.append({name: value.clone() for name, value in args[place].state_dict().items()})
        return real(*args, **rest)

    monkeypatch.setattr(module, function, look)
    assert train(command, "plain") == 0
    assert train(command, "new", "--from", "old") == 0
    assert same(first[1], weights("old"))
    assert not same(first[0], first[1])
    assert not same(weights("new"), weights("old"))


def test_a_run_says_what_it_started_from_without_a_path(sets: Path) -> None:
    assert train("das-train", "old") == 0
    assert train("das-train", "new", "--from", str(sets / "old")) == 0
    config, training = read_toml(Path("new/config.toml")), read_header(Path("new")).training
    assert config["from"] == training["from"]
    assert config["from"].startswith("weights ")
    assert training["from_command"] == "das-train"
    assert "ct_labels" not in training
    card = Path("new/model-card.md").read_text()
    assert f"| First weights | {config['from']} (SHA-256), a run of `ctseg das-train` |" in card
    assert "No CT outline was seen" in card
    assert "| First weights | random |" in Path("old/model-card.md").read_text()
    for text in (card, Path("new/config.toml").read_text()):
        assert str(sets) not in text


def test_weights_that_learnt_from_ct_labels_are_named_as_such_ever_after(
    sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = ["finetune", "--data", "ct", "-o", "tuned", "--folds", "2", "--preset", "smoke", "--device", "cpu"]
    assert main(tune) == 0
    assert train("das-train", "none", "--from", "tuned") == 2
    assert "tuned/fold_1" in capsys.readouterr().err
    assert train("das-train", "one", "--from", "tuned/fold_1") == 0
    assert train("das-train", "two", "--from", "one") == 0
    for run in ("one", "two"):
        assert read_header(Path(run)).training["ct_labels"] is True
        card = Path(run, "model-card.md").read_text()
        assert "it is not unsupervised" in card
        assert "No CT outline was seen" not in card
        assert "it is not unsupervised" in Path(run, "report.html").read_text()


def test_training_on_labelled_ct_is_named_as_such_and_on_pseudo_ct_is_not(
    sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pseudo = Path("pseudo")
    shutil.copytree("ct", pseudo)
    info = read_json(pseudo / "dataset.json")
    write_json(pseudo / "dataset.json", {**info, "pseudo": True})
    for name, seen in (("ct", True), ("pseudo", False), ("mr", False)):
        run = Path(f"on-{name}")
        common.STATE.quiet = False
        capsys.readouterr()
        assert main(["das-train", "--src", name, "--tgt", "ct", "-o", str(run), *SMALL]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if "is labelled CT" in line]
        assert len(said) == seen
        if seen:
            assert "8 slices of 4 patients are learnt from" in said[0]
            assert "4 of the 4 patients of --tgt are among them" in said[0]
        assert read_header(run).training.get("ct_labels", False) is seen
        assert ("it is not unsupervised" in (run / "model-card.md").read_text()) is seen
        card = (run / "model-card.md").read_text()
        assert ("the source itself, whose masks were learnt from" in card) is (name == "ct")
        assert ("masks not used" in card) is (name != "ct")
    assert train("das-train", "after", "--from", "on-ct") == 0
    assert read_header(Path("after")).training["ct_labels"] is True


@pytest.mark.parametrize("keep_start", [True, False])
@pytest.mark.parametrize(
    ("command", "module"), [("das-train", adaptation), ("synth-train", synthesis)], ids=["das", "synth"]
)
def test_a_stopped_warm_start_goes_on_bit_for_bit(
    sets: Path, monkeypatch: pytest.MonkeyPatch, command: str, module: Any, keep_start: bool
) -> None:
    assert train(command, "old", "--seed", "5") == 0
    assert train(command, "whole", "--from", "old") == 0
    name = "train_epoch" if hasattr(module, "train_epoch") else "_train_epoch"
    epoch = getattr(module, name)

    def interrupt(*args: Any, **rest: Any) -> Any:
        if 1 in args[1:4]:
            raise KeyboardInterrupt
        return epoch(*args, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, interrupt)
        assert train(command, "stopped", "--from", "old") == 130
    assert not Path("stopped/model.safetensors").exists()
    if not keep_start:
        shutil.rmtree("old")  # the checkpoint is enough
    assert train(command, "stopped", "--resume", *(["--from", "old"] if keep_start else [])) == 0
    assert same(weights("stopped"), weights("whole"))
    assert read_header(Path("stopped")).training["from"] == read_header(Path("whole")).training["from"]


def test_a_run_is_not_resumed_from_other_first_weights(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in "12":
        assert train("das-train", f"old{seed}", "--seed", seed) == 0
    assert train("das-train", "new", "--from", "old1") == 0
    assert train("das-train", "new", "--from", "old2", "--resume") == 2
    assert "from differs" in capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> None:
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0], lines[0]
    assert not Path("new").exists()


def test_another_network_is_refused_with_the_way_out(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("das-train", "old") == 0
    wider = ["--set", "segmenter_settings.width=6", "--from", "old"]
    code = train("das-train", "new", *wider)
    refused(capsys, code, "width=4", "width=6", "add --set segmenter_settings.width=4")
    code = train("das-train", "new", "--segmenter", "unet", "--from", "old")
    refused(capsys, code, "holds segmenter 'fcn'", "makes 'unet'", "add --segmenter fcn")
    code = train("synth-train", "new", "--from", "old")
    refused(capsys, code, "holds a segmenter of `ctseg das-train`", "needs a generator", "synth-train")
    code = train("das-train", "new", "--from", "nowhere")
    refused(capsys, code, "nowhere")


def test_a_generator_is_no_start_for_a_segmenter(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("synth-train", "old") == 0
    code = train("das-train", "new", "--from", "old")
    refused(capsys, code, "holds a generator of `ctseg synth-train`", "needs a segmenter", "das-train or finetune")
    code = train("synth-train", "new", "--from", "old", "--set", "generator_settings.growth=3")
    refused(capsys, code, "growth=2", "growth=3", "--set generator_settings.growth=2")


def vgg16(path: Path, width: int) -> Path:
    """VGG-16's convolutions as torchvision names them, as wide as asked for."""
    convs = [part for part in FcnVgg16(width).stages.modules() if isinstance(part, torch.nn.Conv2d)]
    state = {f"{key}.bias": torch.ones(conv.weight.shape[0]) for key, conv in zip(VGG16_KEYS, convs, strict=True)}
    for key, conv in zip(VGG16_KEYS, convs, strict=True):
        out, channels = conv.weight.shape[:2]
        state[f"{key}.weight"] = torch.full((out, 3 if channels == 1 else channels, 3, 3), 0.01)
    state["classifier.0.weight"] = torch.zeros(2, 2)
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["vgg16.safetensors", "vgg16.pth"])
def test_the_fcn_starts_from_a_published_vgg16(sets: Path, name: str) -> None:
    vgg16(sets / name, 4)
    still = ["--set", "lr=1e-30", "--set", "epochs=1", "--set", "steps_per_epoch=1"]
    assert train("das-train", "new", "--pretrained", str(sets / name), *still) == 0
    made = weights("new")
    assert torch.allclose(made["stages.4.4.weight"], torch.tensor(0.01))
    assert read_header(Path("new")).training["from"].startswith(f"pretrained {name} ")
    card = Path("new/model-card.md").read_text()
    assert f"| First weights | pretrained {name} " in card
    assert str(sets) not in card


def test_a_file_that_does_not_fit_is_one_line(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide, other = vgg16(sets / "wide.safetensors", 8), sets / "other.pth"
    refused(capsys, train("das-train", "new", "--pretrained", str(wide)), "features.0", "width 64")
    torch.save({"state": {"x": torch.zeros(1)}}, other)
    refused(capsys, train("das-train", "new", "--pretrained", str(other)), "no state dict")
    other.write_text("no weights")
    refused(capsys, train("das-train", "new", "--pretrained", str(other)), "not a readable state dict")
    refused(capsys, train("das-train", "new", "--pretrained", "nowhere.pth"), "nowhere.pth: no such file")
    code = train("das-train", "new", "--segmenter", "unet", "--pretrained", str(wide))
    refused(capsys, code, "'unet' takes no published weights")
    refused(capsys, train("das-train", "new", "--pretrained", str(wide), "--from", "mr"), "leave one out")


@pytest.mark.parametrize("command", ["das-train", "synth-train"])
def test_a_finished_run_without_its_checkpoint_keeps_its_weights(
    sets: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert train(command, "run") == 0
    before = weights("run")
    Path("run/checkpoint.pt").unlink()
    capsys.readouterr()
    assert train(command, "run", "--resume", "--seed", "0") == 2
    said = capsys.readouterr().err
    assert said.startswith("ctseg: error: run: its checkpoint.pt is gone, and the training is finished")
    assert said.count("\n") == 1
    assert same(weights("run"), before)


def test_an_unfinished_run_without_a_checkpoint_says_that_it_begins_again(
    sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("das-train", "run") == 0
    Path("run/checkpoint.pt").unlink()
    Path("run/model.safetensors").unlink()
    common.STATE = common.State()
    capsys.readouterr()
    assert train("das-train", "run", "--resume") == 0
    assert "run: has no checkpoint.pt, so --resume begins with the first epoch" in capsys.readouterr().err
    assert weights("run")
