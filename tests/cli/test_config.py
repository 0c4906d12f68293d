"""Options from `CTSEG_` variables and the user's file: who wins, what is said, and what cannot be set so."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from homeless import homeless

from ctseg.cli import common
from ctseg.cli.defaults import Default, any_set, config_path, in_force, read_defaults, settable
from ctseg.cli.main import build_app, main
from ctseg.errors import InputError
from ctseg.outputs.mark import STUDY


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "STATE", common.State(outside_plugins=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CTSEG_CONFIG", str(tmp_path / "config.toml"))
    Path("config.toml").touch()


@pytest.fixture(scope="module")
def root() -> Any:
    return typer.main.get_command(build_app(["segment"]))


def values(root: Any, environment: dict[str, str], text: str = "") -> dict[tuple[str, str], tuple[str, str]]:
    Path("config.toml").write_text(text)
    found, _ = read_defaults(root, {"CTSEG_CONFIG": "config.toml", **environment})
    return {(item.command, item.flag): (item.value, item.source) for item in found}


def test_variables_win_over_the_file_and_one_command_over_all(root: Any) -> None:
    text = 'workers = 2\nprecision = "bf16"\n[segment]\nworkers = 3\n'
    found = values(root, {}, text)
    assert found["segment", "--workers"] == ("3", "config.toml")
    assert found["preprocess", "--workers"] == ("2", "config.toml")
    found = values(root, {"CTSEG_WORKERS": "8", "CTSEG_DAS_TRAIN_PRECISION": "32"}, text)
    assert found["segment", "--workers"] == ("8", "CTSEG_WORKERS")
    assert found["das-train", "--precision"] == ("32", "CTSEG_DAS_TRAIN_PRECISION")
    assert found["synth-train", "--precision"] == ("bf16", "config.toml")
    found = values(root, {"CTSEG_WORKERS": "8", "CTSEG_SEGMENT_WORKERS": "9"})
    assert (found["segment", "--workers"][0], found["evaluate", "--workers"][0]) == ("9", "8")


def test_what_a_call_reads_writes_or_replaces_cannot_be_set(root: Any) -> None:
    environment = {f"CTSEG_{name}": "x" for name in ("SRC", "OUTPUT", "OVERWRITE", "SET", "MODEL", "RESUME", "PAIRS")}
    assert values(root, environment) == {}
    for command in root.commands.values():
        assert {item.name for item in settable(command)} & {
            "output",
            "overwrite",
            "settings",
            "source",
            "model",
        } == set()


def test_a_typed_flag_wins_and_a_study_takes_only_the_machine(root: Any) -> None:
    found = [Default("das-train", name, f"--{name}", "1", "X") for name in ("device", "preset", "seed")]
    argv = ["das-train", "--seed=3"]
    assert [item.option for item in in_force(found, argv, root)] == ["device", "preset"]
    outer = STUDY.set("key")
    try:
        assert [item.option for item in in_force(found, argv, root)] == ["device"]
    finally:
        STUDY.reset(outer)


def test_a_value_from_elsewhere_is_used_said_and_blamed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CTSEG_SETTINGS_PRESET", "paper")
    assert main(["settings", "synth-train", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["preset"] == "paper"
    assert "from CTSEG_SETTINGS_PRESET: --preset paper" in err
    monkeypatch.setenv("CTSEG_TOP", "many")
    assert main(["-q", "match", "--src", "a", "--tgt", "b", "-o", "c"]) == 2
    assert "(from CTSEG_TOP: --top many)" in capsys.readouterr().err


def test_a_misspelt_name_is_said_and_other_programs_names_are_not(root: Any) -> None:
    Path("config.toml").write_text("worker = 3\n[das-train]\npresett = 'plus'\n[reproduce]\nscale = 'gpu'\n")
    environment = {"CTSEG_CONFIG": "config.toml", "CTSEG_WORKRES": "3", "CTSEG_XYZZY": "1"}
    found, unknown = read_defaults(root, environment)
    assert found == []
    assert unknown == [
        "config.toml: worker is no option that can be set here (did you mean workers?)",
        "config.toml: [das-train] presett is no option that can be set here (did you mean preset?)",
        "CTSEG_WORKRES sets no option (did you mean CTSEG_WORKERS?)",
    ]


def test_a_file_that_is_missing_or_broken_is_one_line(root: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="CTSEG_CONFIG=no.toml: no such file"):
        read_defaults(root, {"CTSEG_CONFIG": "no.toml"})
    Path("link.toml").symlink_to("nothing.toml")
    os.mkfifo("pipe.toml")
    for name, reason in {"link.toml": "a link to nothing", "pipe.toml": "a named pipe", ".": "a folder"}.items():
        with pytest.raises(InputError, match=f"CTSEG_CONFIG={re.escape(name)}: {reason}"):
            read_defaults(root, {"CTSEG_CONFIG": name})
    Path("config.toml").write_text("workers = = 3")
    assert main(["match", "--src", "a", "--tgt", "b", "-o", "c"]) == 2
    assert "config.toml: not a TOML file" in capsys.readouterr().err


def test_a_table_of_no_command_is_said(root: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = "[das_train]\ndevice = 'cpu'\n[Segment]\ndevice = 'cpu'\n[somebodys]\nx = 1\n[[segmet]]\ny = 1\n"
    Path("config.toml").write_text(text)
    near = [
        "config.toml: [das_train] is no command (did you mean [das-train]?)",
        "config.toml: [Segment] is no command (did you mean [segment]?)",
        "config.toml: [segmet] is no command (did you mean [segment]?)",
    ]
    said = read_defaults(root, {"CTSEG_CONFIG": "config.toml"})[1]
    assert said[:3] == near
    assert not any("somebodys" in line for line in said)  # perhaps of a package that this call does not load
    assert main(["config", "--json"]) == 0
    assert any(line.endswith("[somebodys] is no command") for line in json.loads(capsys.readouterr().out)["unknown"])


def test_an_account_without_a_home_folder_has_no_file_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    homeless(monkeypatch)
    monkeypatch.delenv("CTSEG_CONFIG")
    assert config_path() is None
    assert not any_set({})
    for call in (["--version"], ["config"], ["settings", "segment"], ["segment", "--help"]):
        assert main(call) == 0
    assert "CTSEG_CONFIG may name a file" in capsys.readouterr().out


def test_somebody_elses_home_is_said_and_no_error(
    root: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`HOME=/root` for another account, as images set it."""
    real = Path.stat

    def stat(path: Path, **options: Any) -> Any:
        if path.name == "config.toml":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    found, said = read_defaults(root, {"XDG_CONFIG_HOME": "root"})
    assert found == []
    assert said == [
        "root/ctseg/config.toml: this account may not look there, so no option comes from it; correct HOME or "
        "permissions"
    ]
    monkeypatch.delenv("CTSEG_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", "root")
    assert main(["settings", "segment"]) == 0
    assert "this account may not look there" in capsys.readouterr().err
    assert main(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exists"] is False


def test_a_value_is_shown_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CTSEG_SEGMENT_DEVICE", "a\nb\x1b[31m")
    assert main(["config"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "CTSEG_SEGMENT_DEVICE" in line]


def test_config_shows_what_is_set_and_every_option_of_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CTSEG_SEGMENT_DEVICE", "cpu")
    assert main(["config", "segment", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["option"]: (row["value"], row["source"]) for row in found["options"]}
    assert found["exists"]
    assert rows["--device"] == ("cpu", "CTSEG_SEGMENT_DEVICE")
    assert rows["--threshold"] == (0.5, "default of ctseg")
    assert main(["config", "segmet"]) == 2
    assert "did you mean 'segment'" in capsys.readouterr().err
