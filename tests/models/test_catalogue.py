"""Models by name: three places, clashes, names that are paths, and what each fault says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from homeless import homeless
from model_files import ship, weights

from ctseg.api import find_models, list_models
from ctseg.errors import InputError
from ctseg.models import ModelInfo, checked_digest, known_models, look_at, user_folder
from ctseg.models.catalogue import Catalogue, ModelSource, is_path
from ctseg.networks.unet import UNet
from ctseg.plugins.host import Registry, load
from ctseg.runs import load_model

Plugged = Callable[[Path], Registry]


def catalogue(registry: Registry | None = None) -> Catalogue:
    return known_models((registry or load(found=[])).of_kind("model"))


def infos(registry: Registry | None = None) -> dict[str, ModelInfo]:
    return {info.source.name: info for info in list_models(registry or load(found=[]))}


def test_models_come_from_the_package_a_plugin_and_the_users_folder(
    package: Path, mine: Path, tmp_path: Path, plugged: Plugged
) -> None:
    ship(package)
    ship(tmp_path / "plugin", "basal", 1)
    ship(mine, "own", 2)
    weights(mine / "run" / "model.safetensors", 3)
    weights(mine / "bare.safetensors", 4)
    (mine / "notes.txt").write_text("no model")
    (mine / "archive").mkdir()
    found = infos(plugged(tmp_path / "plugin"))
    assert {name: (info.source.origin, info.source.owner) for name, info in found.items()} == {
        "default": ("package", f"ctseg {_version()}"),
        "basal": ("plugin", "ctseg-basal 1.2"),
        "own": ("user", str(mine)),
        "run": ("user", str(mine)),
        "bare": ("user", str(mine)),
    }
    assert [info.error for info in found.values()] == [""] * 5
    assert len({info.sha256 for info in found.values()}) == 5
    assert found["basal"].licence == "CC0-1.0"
    assert found["run"].licence == "not stated (no card)"
    assert found["run"].training_data == ["source pseudo (licence not stated)"]


def _version() -> str:
    from ctseg.version import __version__

    return __version__


def test_no_model_at_all_names_the_ways_out(mine: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_models(None, load(found=[]))
    assert all(word in str(caught.value) for word in ("no --model given", "das-train", "ctseg demo", str(mine)))
    ship(mine, "own")
    with pytest.raises(InputError, match=r"no model called 'default'; name one of own; or give a run folder"):
        find_models([], load(found=[]))
    ship(mine)
    assert find_models(None, load(found=[]))[0].path == mine / "default.safetensors"


def test_an_unknown_name_lists_the_known_and_suggests_the_nearest(package: Path, mine: Path) -> None:
    ship(package)
    ship(mine, "own")
    with pytest.raises(InputError, match=r"unknown model 'defalt' \(did you mean 'default'\?\); known: default, own; "):
        find_models("defalt", load(found=[]))


def test_a_name_wins_over_a_path_of_the_same_name_and_says_so(package: Path) -> None:
    shipped = ship(package)
    weights(Path("default/model.safetensors"), 5)
    weights(Path("other/model.safetensors"), 6)
    said: list[str] = []
    [source] = find_models("default", load(found=[]), said.append)
    assert source.path == shipped
    assert said == [f"note: 'default' means the model of ctseg {_version()}; for the path give ./default"]
    for text in ("./default", "default/model.safetensors", "other", Path("default")):
        [source] = find_models(text, load(found=[]), said.append)
        assert (source.name, source.path) == ("", Path(text))
    assert len(said) == 1


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "/a", "./a", "x.safetensors"])
def test_what_cannot_be_a_name_is_a_path(text: str) -> None:
    assert is_path(text)
    assert not is_path("amd-das.v2")


def test_the_users_model_does_not_take_a_registered_name(package: Path, mine: Path) -> None:
    shipped = ship(package)
    ship(mine, "default", 7)
    known = catalogue()
    said: list[str] = []
    assert known.default(said.append).path == shipped
    assert known.find("default", said.append).path == shipped
    assert said == 2 * [
        f"warning: model 'default' is that of ctseg {_version()}; {mine / 'default.safetensors'} has the same name and "
        "is not used: rename it, or give its path"
    ]
    assert [source.error for source in known.broken] == [
        f"ctseg {_version()} has a model of this name; rename default.safetensors"
    ]
    assert next(info.error for info in list_models(load(found=[]))) == ""


def test_a_name_of_two_packages_is_an_error_where_it_is_used(package: Path, tmp_path: Path, plugged: Plugged) -> None:
    ship(package)
    ship(tmp_path / "plugin")
    ship(tmp_path / "plugin", "basal")
    known = catalogue(plugged(tmp_path / "plugin"))
    for used in (known.default, lambda: known.find("default")):
        with pytest.raises(InputError, match="model 'default' is registered by both ctseg .* and ctseg-basal"):
            used()
    assert known.find("basal").owner == "ctseg-basal 1.2"


def test_a_factory_that_raises_is_one_broken_model() -> None:
    class Entry:
        name, package, version = "bad", "ctseg-bad", "1"

        def build(self) -> Path:
            raise RuntimeError("no idea\nreally")

    known = known_models([Entry()])
    assert look_at(known.sources["bad"]).error == "the plugin cannot say where it is (no idea); ask its authors"
    with pytest.raises(InputError, match="model 'bad' of ctseg-bad 1: the plugin cannot say where it is"):
        known.find("bad")


def test_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_folder({"CTSEG_MODELS": "/x/y"}) == Path("/x/y")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for environment in ({}, {"CTSEG_MODELS": " "}):
        assert user_folder(environment).parts[-2:] == ("ctseg", "models")
    monkeypatch.setenv("CTSEG_MODELS", str(tmp_path / "gone"))
    assert catalogue().problems == (f"CTSEG_MODELS={tmp_path / 'gone'}: no such folder",)
    with pytest.raises(InputError, match="unknown model 'x'; known: none; .*gone: no such folder"):
        catalogue().find("x")
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("CTSEG_MODELS", str(tmp_path / "file"))
    assert "cannot be listed (Not a directory)" in catalogue().problems[0]


def test_each_broken_model_says_what_is_wrong_and_the_others_stay(package: Path, mine: Path) -> None:
    for name in ("good", "short", "other", "uncarded", "miscarded"):
        ship(package, name)
    whole = (package / "short.safetensors").read_bytes()
    (package / "short.safetensors").write_bytes(whole[:-100])
    weights(package / "other.safetensors", 9)
    (package / "uncarded.json").unlink()
    (package / "miscarded.json").write_text("{")
    weights(mine / "newer.safetensors", 0, schema="ctseg-model/2", tool="ctseg 9.0")
    (mine / "text.safetensors").write_text("text")
    (mine / "gone.safetensors").symlink_to("nowhere")
    (mine / "unfinished").mkdir()
    (mine / "unfinished" / "checkpoint.pt").write_bytes(b"x")
    found = {name: info.error for name, info in infos().items()}
    again = "install it again: pip install --force-reinstall --no-deps ctseg"
    for name, words in {
        "good": (),
        "short": ("short.safetensors", "bytes where its header says", "copy it again"),
        "other": ("other.safetensors: its SHA-256 begins", "that on its card", again),
        "uncarded": ("its model card uncarded.json is missing", again),
        "miscarded": ("miscarded.json: not a JSON file",),
        "newer": ("'ctseg-model/2' made by ctseg 9.0", "pip install --upgrade ctseg"),
        "text": ("text.safetensors: not a safetensors file",),
        "gone": ("gone.safetensors: no such file",),
        "unfinished": ("not finished",),
    }.items():
        assert all(word in found[name] for word in words), found[name]
        assert bool(found[name]) is bool(words)
        assert "\n" not in found[name]


def test_weights_given_by_path_are_compared_with_a_card_beside_them(tmp_path: Path) -> None:
    path = ship(tmp_path, "moved")
    assert checked_digest(ModelSource(path)) == look_at(ModelSource(path)).sha256
    weights(path, 8)
    with pytest.raises(InputError, match="that on its card .*copy the model and its card again"):
        checked_digest(ModelSource(path))
    path.with_suffix(".json").write_text('{"schema": "something else"}')
    assert len(checked_digest(ModelSource(path))) == 64


def test_what_may_be_a_card_and_cannot_be_read_is_not_passed_over(tmp_path: Path, mine: Path) -> None:
    """Its settings and corrections would be left out without a word."""
    card, spoilt = Path("model.json"), {"cut": '{"schema": "ctseg-model-card/1", "faint_hu": 8', "empty": ""}
    source = ModelSource(weights(Path("model.safetensors")))
    for text in spoilt.values():
        card.write_text(text)
        with pytest.raises(InputError, match=r"model\.json: not a JSON file"):
            checked_digest(source)
    card.unlink()
    card.symlink_to("nowhere.json")
    with pytest.raises(InputError, match=r"model\.json: a link to nothing"):
        checked_digest(source)
    weights(mine / "linked.safetensors")
    (mine / "linked.json").symlink_to("nowhere.json")
    assert "a link to nothing" in look_at(known_models([]).sources["linked"]).error
    card.unlink()
    card.write_text(" " * 1_000_001)  # somebody else's: no card is so large
    assert len(checked_digest(source)) == 64


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "a\\b", "old.safetensors", "\udcff"])
def test_a_name_that_dicom_or_a_call_cannot_hold_is_listed_with_the_way_out(mine: Path, name: str) -> None:
    weights(mine / "new.safetensors").rename(mine / f"{name}.safetensors")
    (source,) = known_models([]).sources.values()
    assert "rename it" in look_at(source).error
    with pytest.raises(InputError, match="rename it"):
        known_models([]).named(name)


def test_a_file_of_terabytes_that_holds_nothing_is_not_read(mine: Path) -> None:
    for name, header in (("zeros", b""), ("header", (1 << 20).to_bytes(8, "little"))):
        with (mine / f"{name}.safetensors").open("wb") as file:
            file.write(header)
            file.truncate(1 << 42)
    found = known_models([])
    assert all("more than any such file needs" in look_at(found.sources[name]).error for name in ("zeros", "header"))


def test_pipes_and_devices_are_called_so(mine: Path) -> None:
    os.mkfifo(mine / "pipe.safetensors")
    (mine / "zero.safetensors").symlink_to("/dev/zero")
    found = known_models([])
    assert all("not a regular file" in look_at(found.sources[name]).error for name in ("pipe", "zero"))


def test_an_account_without_a_home_folder_has_the_other_models(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`docker run --user 12345`, and many batch systems."""
    ship(package)
    homeless(monkeypatch)
    assert user_folder({}) is None
    monkeypatch.delenv("CTSEG_MODELS")
    found = known_models([])
    assert found.folder is None
    assert "CTSEG_MODELS may name one" in found.problems[0]


def test_weights_in_a_folder_of_any_bytes_can_be_used(tmp_path: Path) -> None:
    path = weights(tmp_path / os.fsdecode(b"r\xff") / "model.safetensors")
    module, _ = load_model(path.parent, lambda header: UNet(**header.settings), "segmenter")
    assert module is not None
