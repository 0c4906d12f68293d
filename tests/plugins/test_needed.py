"""Runs and models whose plugin is gone, of another package or of another version: said, with the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from outside_plugins import outside_entry, outside_registry
from pydantic import Field
from toy_sets import toy

import ctseg
from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.errors import PluginError
from ctseg.files import read_json, read_toml
from ctseg.plugins import host
from ctseg.plugins.host import Broken, Registry
from ctseg.plugins.needed import Needed, needed_entry, other_versions
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.runs import ModelHeader, read_header
from ctseg.settings import Settings

STEPS = ["--preset", "smoke", "--device", "cpu", "--set", "epochs=1", "--set", "decay_epochs=0"]
KINDS = {"das-train": "segmenter", "finetune": "segmenter", "synth-train": "generator"}


class Net(torch.nn.Module):
    """A generator and segmenter of one layer; a newer one has a layer more."""

    def __init__(self, width: int, layers: int = 1) -> None:
        super().__init__()
        self.hidden_channels = width
        self.first = torch.nn.Conv2d(1, width, 3, padding=1)
        self.last = torch.nn.Conv2d(width, 1, 1)
        if layers > 1:
            self.more = torch.nn.Conv2d(1, 1, 1)

    def forward(self, images: Any) -> SegmenterOutput:
        hidden = self.first(images)
        return SegmenterOutput(self.last(hidden), hidden)

    def to_target(self, images: Any) -> Any:
        return self.last(self.first(images)).tanh()

    to_source = to_target


class Own(Settings):
    width: int = Field(2, description="channels")


class Renamed(Settings):
    channels: int = Field(2, description="channels, which were called width")


def plugins(version: str = "0.3.1", layers: int = 1, settings: Any = Own) -> Registry:
    """What is installed with a version of `ctseg-odd`."""
    made = [
        outside_entry(kind, lambda **given: Net(next(iter(given.values())), layers), version=version, settings=settings)
        for kind in ("segmenter", "generator")
    ]
    return outside_registry(*made)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with slice sets and a run of each training, made with `ctseg-odd` 0.3.1."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("mr", "ct"):
        toy(folder / name, name, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "STATE", common.State(registry=plugins(), quiet=True))
        patch.chdir(folder)
        for command in KINDS:
            assert main(call(command)) == 0
        yield folder


@pytest.fixture
def use(made: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Registry], Path]:
    """Works in that folder with other plugins."""

    def use(registry: Registry) -> Path:
        monkeypatch.chdir(made)
        monkeypatch.setattr(common, "STATE", common.State(registry=registry))
        return made

    return use


def call(command: str, *more: str) -> list[str]:
    name = ["--generator", "odd"] if command == "synth-train" else ["--segmenter", "odd"]
    if command == "finetune":
        return [command, "--data", "ct", *name, "--folds", "2", *STEPS, "-o", command, *more]
    plain = [word for key in ("lambda_fda", "lambda_les") for word in ("--set", f"{key}=0")]
    more = (*plain, *more) if command == "synth-train" else more
    return [command, "--src", "mr", "--tgt", "ct", "--set", "matched=false", *name, *STEPS, "-o", command, *more]


def error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", KINDS)
def test_a_run_whose_plugin_is_gone_names_the_package(
    command: str, use: Callable[[Registry], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    use(outside_registry())
    assert main(call(command, "--resume")) == 2
    needs = f"this run needs {KINDS[command]} 'odd' of ctseg-odd 0.3.1; install it: pip install ctseg-odd==0.3.1"
    assert error(capsys) == f"ctseg: error: {command}/config.toml: {needs}"


@pytest.mark.parametrize("command", KINDS)
def test_a_run_is_not_continued_with_another_version_of_its_plugin(
    command: str, use: Callable[[Registry], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    use(plugins("0.4.0"))
    assert main(call(command, "--resume")) == 2
    assert error(capsys) == (
        f"ctseg: error: {command}/config.toml: begun with ctseg-odd 0.3.1, 0.4.0 is installed; pip install "
        "ctseg-odd==0.3.1 to go on, or start again with --overwrite"
    )


GONE = "needs segmenter 'odd' of ctseg-odd 0.3.1; install it: pip install ctseg-odd==0.3.1"


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (["segment", "ct", "--model", "das-train", "-o", "masks"], "this model "),
        (["export", "das-train", "-o", "exported"], "this model "),
        (["finetune", "--data", "ct", "--folds", "2", "--from", "das-train", "-o", "tuned"], "--from das-train: this "),
        (call("das-train", "--from", "das-train", "-o", "new"), "--from das-train: this model "),
    ],
)
def test_a_model_whose_plugin_is_gone_names_the_package(
    words: list[str], who: str, use: Callable[[Registry], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = use(outside_registry())
    assert main(words) == 2
    said = error(capsys)
    assert said.startswith(f"ctseg: error: {who}")
    assert said.endswith(GONE)
    assert not any((folder / name).exists() for name in ("masks", "exported", "tuned", "new"))


def test_a_study_is_refused_before_its_first_step(
    use: Callable[[Registry], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = use(outside_registry())
    steps = [
        'command = "segment"\nname = "last"\ninput = "{0}/ct"\nmodel = "{0}/das-train"\noutput = "masks"',
        'command = "das-train"\nname = "again"\nsrc = "{0}/mr"\ntgt = "{0}/ct"\nsegmenter = "odd"\n'
        'output = "{0}/das-train"\n[step.set]\nmatched = false',
    ]
    text = "".join(f"[[step]]\n{step.format(folder)}\n\n" for step in steps)
    (tmp_path / "study.toml").write_text(text)
    assert main(["run", str(tmp_path / "study.toml"), "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert f"step 'last': --model {folder}/das-train: this model {GONE}" in said
    assert f"step 'again': {folder}/das-train/config.toml: this run {GONE}" in said
    assert not (tmp_path / "masks").exists()


def test_a_slice_set_names_the_package_of_an_extractor_that_is_gone(
    use: Callable[[Registry], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(outside_registry())
    folder = toy(tmp_path / "ct", "ct", 0)
    said = {"name": "soft", "package": "ctseg-soft", "version": "0.2"}
    info = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**info, "brain_extractor": said}))
    words = ["preprocess", str(folder), "-o", str(folder), "--overwrite", "--brain"]
    assert main([*words, "soft"]) == 2
    needs = "this slice set needs brain extractor 'soft' of ctseg-soft 0.2; install it: pip install ctseg-soft==0.2"
    assert error(capsys) == f"ctseg: error: {folder}: {needs}"
    assert main([*words, "sofd"]) == 2
    assert error(capsys).startswith("ctseg: error: unknown brain extractor 'sofd'")


def test_models_lists_one_that_lacks_its_plugin(
    use: Callable[[Registry], Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = use(outside_registry())
    monkeypatch.setenv("CTSEG_MODELS", str(folder))
    assert main(["models"]) == 0
    assert f"cannot be used here: this model {GONE}" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    lacks = {row["name"]: row["lacks"] for row in json.loads(capsys.readouterr().out)["models"]}
    assert (lacks["das-train"], lacks["default"], lacks["other-blood"]) == (f"this model {GONE}", None, None)
    use(plugins())
    assert main(["models", "show", "das-train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lacks"] is None


DIFFERS = "segmenter 'odd' of ctseg-odd: made with 0.3.1, 0.4.0 is installed"


def test_another_version_is_a_warning_and_in_the_outputs(
    use: Callable[[Registry], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "masks")
    words = ["segment", "ct", "--model", "das-train", "--device", "cpu", "-o", out]
    use(plugins())
    assert main(words) == 0
    assert "warning" not in capsys.readouterr().err
    assert "other_versions" not in read_json(tmp_path / "masks" / "volumes.json")["models"][0]
    use(plugins("0.4.0"))
    assert main([*words, "--resume"]) == 2
    assert f", now odd {digest_of(out)} ({DIFFERS})); go on as started" in error(capsys)
    assert main([*words, "--overwrite"]) == 0
    digest = digest_of(out)
    warning = f"warning: model {digest}: {DIFFERS}; masks may differ from those that it was measured with"
    assert capsys.readouterr().err.splitlines().count(warning) == 1
    assert read_json(tmp_path / "masks" / "volumes.json")["models"][0]["other_versions"] == DIFFERS


def digest_of(out: str) -> str:
    return str(read_json(Path(out) / "volumes.json")["models"][0]["weights"])


def test_python_is_warned_too(
    use: Callable[[Registry], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use(plugins("0.4.0"))
    monkeypatch.setattr("ctseg.api._registry", lambda: plugins("0.4.0"))
    with pytest.raises(ctseg.errors.CtsegError):
        ctseg.segment("mr", "das-train", device="cpu")  # no CT: the model is loaded before that is known
    assert [DIFFERS in message for message in caplog.messages] == [True]


def test_pseudo_ct_says_that_another_version_made_it(
    use: Callable[[Registry], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(plugins("0.4.0"))
    words = ["synthesize", "--model", "synth-train", "--src", "mr", "--device", "cpu", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    differs = DIFFERS.replace("segmenter", "generator")
    warning = f"warning: synth-train: {differs}; pseudo-CT may differ from that of its training"
    assert warning in capsys.readouterr().err.splitlines()
    assert read_json(tmp_path / "out" / "dataset.json")["inputs"]["other_versions"] == differs


@pytest.mark.parametrize("command", ["das-train", "finetune"])
def test_a_warm_start_records_the_version_of_its_weights(
    command: str, use: Callable[[Registry], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(plugins("0.4.0"))
    out = tmp_path / "new"
    assert main([*call(command, "--from", "das-train"), "-o", str(out)]) == 0
    warning = f"warning: --from das-train: {DIFFERS}; the weights may mean something else to it"
    assert capsys.readouterr().err.splitlines().count(warning) == 1
    config = read_toml(out / "config.toml")
    assert config["plugin"]["version"] == "0.4.0"
    if command == "das-train":
        assert config["from_version"] == read_header(out).training["from_version"] == "ctseg-odd 0.3.1"
    else:
        assert config["from"].endswith(", made with ctseg-odd 0.3.1")


BOTH = "made with ctseg-odd 0.3.1, 0.4.0 is installed: pip install ctseg-odd==0.3.1"
REFUSED = f"{DIFFERS}: pip install ctseg-odd==0.3.1"


@pytest.mark.parametrize(
    ("registry", "said"),
    [
        (lambda: plugins("0.4.0", layers=2), f'Missing key(s) in state_dict: "more.weight", "more.bias".); {BOTH}'),
        (lambda: plugins("0.4.0", settings=Renamed), f"unknown setting 'width'; known: channels; {REFUSED}"),
        (lambda: plugins("0.4.0", settings=None), f"unknown setting 'width'; known: none; {REFUSED}"),
    ],
)
@pytest.mark.parametrize("command", ["segment", "synthesize", "finetune"])
def test_weights_that_another_version_cannot_take_name_both(
    registry: Callable[[], Registry],
    said: str,
    command: str,
    use: Callable[[Registry], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use(registry())
    out = ["--device", "cpu", "-o", str(tmp_path / "out")]
    words = {
        "segment": ["segment", "ct", "--model", "das-train", *out],
        "synthesize": ["synthesize", "--model", "synth-train", "--src", "mr", *out],
        "finetune": ["finetune", "--data", "ct", "--folds", "2", "--from", "das-train", *out],
    }[command]
    assert main(words) == 2
    expected = said.replace("segmenter", "generator") if command == "synthesize" else said
    assert expected in error(capsys)
    assert not (tmp_path / "out").exists()


def test_a_setting_that_only_the_newer_version_needs_is_not_asked_for_by_set(
    use: Callable[[Registry], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Needy(Own):
        depth: int = Field(description="layers")

    use(plugins("0.4.0", settings=Needy))
    assert main(["segment", "ct", "--model", "das-train", "-o", str(tmp_path / "out")]) == 2
    assert error(capsys) == f"ctseg: error: segmenter odd: setting 'depth' has no default; {REFUSED}"


NEEDED = Needed("segmenter", "odd", "ctseg_odd", "0.3.1")
WAY = "^this model needs segmenter 'odd' of ctseg_odd 0.3.1; "


def only(name: str, package: str = "ctseg-odd") -> Registry:
    """ctseg's own plugins and one other."""
    entry = outside_entry("segmenter", dict, name)
    object.__setattr__(entry, "package", package)
    return outside_registry(entry)


@pytest.mark.parametrize(
    ("registry", "there", "words"),
    [
        (lambda: outside_registry(), [], r"install it: pip install ctseg_odd==0\.3\.1$"),
        (lambda: outside_registry(), ["Ctseg.Odd"], r"Ctseg\.Odd 2 is installed and left out by --no-plugins or CTSEG"),
        (lambda: only("other"), [], r"ctseg-odd 0\.3\.1 is installed and has none: pip install ctseg_odd==0\.3\.1$"),
        (
            lambda: only("odd", "ctseg-twin"), [],
            r"what is installed of this name is of ctseg-twin 0\.3\.1: pip install ctseg_odd==0\.3\.1, and uninstall "
            "ctseg-twin$",
        ),
    ],
)  # fmt: skip
def test_why_a_plugin_is_not_there(
    registry: Callable[[], Registry], there: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "installed", lambda: [SimpleNamespace(name=name, version="2") for name in there])
    with pytest.raises(PluginError, match=WAY + words):
        needed_entry(registry(), NEEDED)


def test_a_broken_plugin_and_one_of_ctsegs_own() -> None:
    registry = outside_registry()
    registry.broken.append(Broken("ctseg-odd", "0.4", "ImportError: x"))
    with pytest.raises(PluginError, match=WAY + r"ctseg-odd 0\.4 is installed and broken: ImportError: x$"):
        needed_entry(registry, NEEDED)
    with pytest.raises(PluginError, match=rf"this is ctseg {ctseg.__version__}: pip install ctseg==9$"):
        needed_entry(registry, Needed("segmenter", "newest", "ctseg", "9"))
    header = ModelHeader("segmenter", "unet", {}, "ctseg", "0.0.1")
    assert other_versions(registry, header) == []  # ctseg sees to it that its own networks fit


def test_names_in_a_header_do_not_reach_the_terminal_as_they_are() -> None:
    with pytest.raises(PluginError) as caught:
        needed_entry(outside_registry(), Needed("segmenter", "odd", "x\x1b[31m\ny", "1"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "table", [None, 3, {}, {"name": "a", "package": "b"}, {"name": 1, "package": "b", "version": ""}]
)
def test_what_names_no_plugin_is_none(table: Any) -> None:
    assert Needed.of_table(table, "segmenter") is None
