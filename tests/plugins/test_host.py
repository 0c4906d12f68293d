"""The plugin host against planted faults."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
from outside_plugins import outside_entry
from toy_sets import toy

from ctseg.api import load_for_segment
from ctseg.cli.training_options import ct_input
from ctseg.errors import PluginError, SettingError
from ctseg.io.slices import open_slices
from ctseg.plugins import versions
from ctseg.plugins.called import made_by
from ctseg.plugins.commands import register_commands
from ctseg.plugins.entry import words
from ctseg.plugins.hookspecs import CONTRACT, hookimpl
from ctseg.plugins.host import HOOKS, Broken, Package, disabled_plugins, load
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model
from ctseg.settings import Settings, describe


def plugin(name: str, **hooks: Any) -> tuple[Any, Any]:
    """An installed package called `name` whose module has `hooks`."""
    module = ModuleType(name)
    for key, function in hooks.items():
        setattr(module, key, hookimpl(function))
    return SimpleNamespace(load=lambda: module, name=name), SimpleNamespace(name=name, version="1.2")


def metrics(*names: str) -> Any:
    def register_metrics(register: Any) -> None:
        for name in names:
            register(name, dict, summary="a metric")

    return register_metrics


def test_the_built_ins_come_through_the_hooks() -> None:
    registry = load(found=[])
    assert {"amd", "phash", "dhash", "whash", "ahash"} <= set(registry.names("similarity_metric"))
    assert {"dice", "nsd", "hd95_mm", "fp_ml"} <= set(registry.names("metric"))
    assert registry.names("generator") == ["amd", "resnet"]
    assert registry.names("segmenter") == ["fcn", "unet"]
    assert "muschelli" in registry.names("brain_extractor")
    for entry in registry.entries.values():
        assert entry.package == "ctseg"
        assert entry.summary
        assert entry.reference
        entry.resolve()


def test_an_outside_plugin_registers_with_its_package() -> None:
    registry = load(found=[plugin("other", ctseg_register_similarity_metrics=metrics("mine"))])
    entry = registry.get("similarity_metric", "mine")
    assert (entry.package, entry.version) == ("other", "1.2")


AMD_TWICE = (
    r"^similarity metric 'amd' is registered by both ctseg \S+ and other 1\.2; uninstall other, or leave it out with "
    r"CTSEG_DISABLE_PLUGINS=other$"
)


def test_a_duplicate_name_names_both_packages() -> None:
    registry = load(found=[plugin("other", ctseg_register_similarity_metrics=metrics("amd", "more"))])
    for use in ("build", "resolve", "settings_model", "extractor"):
        with pytest.raises(PluginError, match=AMD_TWICE):
            getattr(registry.get("similarity_metric", "amd"), use)()
    assert registry.get("similarity_metric", "more").build() == {}
    assert registry.get("generator", "amd").package == "ctseg"


@pytest.mark.parametrize("kind", HOOKS)
def test_of_two_packages_with_one_name_either_can_be_left_out(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [plugin(name, **{HOOKS[kind]: metrics("mine")}) for name in ("one", "two")]
    for point, _ in found:
        point.load().CTSEG_CONTRACT = CONTRACT
    assert load(found=found).clashes == [
        f"{words(kind)} 'mine' is registered by both one 1.2 and two 1.2; uninstall one of them, or leave it out with "
        "CTSEG_DISABLE_PLUGINS=one or CTSEG_DISABLE_PLUGINS=two"
    ]
    for left_out, stays in (("one", "two"), ("two", "one")):
        monkeypatch.setenv("CTSEG_DISABLE_PLUGINS", left_out)
        assert load(found=found).get(kind, "mine").package == stays


def test_a_package_that_registers_a_name_twice_is_left_out() -> None:
    registry = load(found=[plugin("odd", ctseg_register_similarity_metrics=metrics("mine", "mine"))])
    assert [(item.package, item.error) for item in registry.broken] == [
        ("odd", "ValueError: similarity metric 'mine' is registered twice")
    ]
    assert "mine" not in registry.names("similarity_metric")


def write_package(folder: Path, version: str) -> str:
    """An installed package `ctseg-odd` with a plugin, as pip leaves it; its folder."""
    info = folder / f"ctseg_odd-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ctseg-odd\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[ctseg]\nodd = ctseg_odd_of_a_test\n")
    hook = "@ctseg.hookimpl\ndef ctseg_register_segmenters(register):\n"
    module = f"import ctseg\n\nCTSEG_CONTRACT = 2\n\n\n{hook}    register('odd', dict, summary='{version}')\n"
    (folder / "ctseg_odd_of_a_test.py").write_text(module)
    return str(folder)


def test_the_version_is_that_of_the_copy_that_python_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("0.3.1", "0.4.0"):  # an environment with 0.4.0 above one with 0.3.1
        monkeypatch.syspath_prepend(write_package(tmp_path / version, version))
    monkeypatch.delitem(sys.modules, "ctseg_odd_of_a_test", raising=False)
    entry = load().get("segmenter", "odd")
    monkeypatch.delitem(sys.modules, "ctseg_odd_of_a_test")
    assert (entry.version, entry.summary) == ("0.4.0", "0.4.0")


def test_three_packages_with_one_name_are_all_named() -> None:
    found = [plugin(name, ctseg_register_similarity_metrics=metrics("mine")) for name in ("one", "two", "three")]
    (line,) = load(found=found).clashes
    assert line == (
        "similarity metric 'mine' is registered by one 1.2, two 1.2 and three 1.2; uninstall all but one, or leave "
        "them out with CTSEG_DISABLE_PLUGINS=two,three"
    )


def test_a_plugin_that_clashes_and_then_fails_takes_no_name() -> None:
    hooks = {"ctseg_register_similarity_metrics": metrics("amd"), "ctseg_register_models": failing(ValueError("late"))}
    registry = load(found=[plugin("odd", **hooks)])
    assert registry.get("similarity_metric", "amd").package == "ctseg"
    assert registry.clashes == []


def test_a_misspelt_hook_leaves_its_package_out_and_is_named() -> None:
    odd = plugin("other", ctseg_register_metric=metrics("mine"), ctseg_register_commands=adding("odd"))
    registry = load(found=[odd, plugin("sound", ctseg_register_similarity_metrics=metrics("mine"))])
    (item,) = registry.broken
    assert item.package == "other"
    assert "ctseg_register_metric" in item.error
    assert item.error.endswith("see docs/plugins.md for the hooks")
    assert registry.get("similarity_metric", "mine").package == "sound"
    app = typer.Typer()
    register_commands(registry, app)
    assert app.registered_commands == []


def test_an_error_of_ctsegs_own_that_a_plugin_raises_is_that_plugins() -> None:
    def load_broken() -> None:
        raise PluginError("needs a GPU")

    found = (SimpleNamespace(load=load_broken, name="x"), SimpleNamespace(name="broken", version="0.1"))
    assert [item.error for item in load(found=[found]).broken] == ["needs a GPU"]


@pytest.mark.parametrize("value", ["", "9 lives", ":hook"])
def test_an_entry_point_without_a_module_is_named(value: str) -> None:
    point = EntryPoint("odd", value, "ctseg.plugins")
    [item] = load(found=[(point, Package("broken", "0.1"))]).broken
    assert item.error == f"its entry point 'odd' names no module: {value!r}"


def test_a_broken_plugin_is_named_and_does_not_take_the_tool_down() -> None:
    def load_broken() -> None:
        raise ImportError("no module named 'missing'")

    def bad_hook(register: Any) -> None:
        raise ValueError("cannot register")

    broken = (SimpleNamespace(load=load_broken, name="x"), SimpleNamespace(name="broken", version="0.1"))
    registry = load(found=[broken, plugin("bad", ctseg_register_generators=bad_hook)])
    assert [(item.package, item.error) for item in registry.broken] == [
        ("broken", "ImportError: no module named 'missing'"),
        ("bad", "ValueError: cannot register"),
    ]
    with pytest.raises(
        PluginError, match=r"unknown similarity metric 'mine'.*known: ahash, amd.*plugin broken is broken"
    ):
        registry.get("similarity_metric", "mine")


def test_plugins_can_be_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [plugin("other_one", ctseg_register_similarity_metrics=metrics("mine"))]
    monkeypatch.setenv("CTSEG_DISABLE_PLUGINS", "Other-One")
    assert "mine" not in load(found=found).names("similarity_metric")
    monkeypatch.setenv("CTSEG_DISABLE_PLUGINS", "1")
    assert "mine" not in load(found=found).names("similarity_metric")
    monkeypatch.delenv("CTSEG_DISABLE_PLUGINS")
    assert "mine" not in load(found=found, outside=False).names("similarity_metric")
    assert "mine" in load(found=found).names("similarity_metric")
    assert disabled_plugins({"CTSEG_DISABLE_PLUGINS": "a, B_c"}) == (False, {"a", "b-c"})


def test_settings_are_checked_before_the_factory_runs() -> None:
    class MetricSettings(Settings):
        weight: int = 3

    def register_metrics(register: Any) -> None:
        register("mine", lambda weight: weight, settings=MetricSettings)

    registry = load(found=[plugin("other", ctseg_register_similarity_metrics=register_metrics)])
    assert registry.get("similarity_metric", "mine").build({"weight": 5}) == 5
    with pytest.raises(SettingError, match="similarity metric mine: unknown setting 'wieght'.*did you mean 'weight'"):
        registry.get("similarity_metric", "mine").build({"wieght": 5})


class Asked(Settings):
    width: int
    depth: int = 2
    height: int


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("similarity_metric", "--set width=VALUE --set height=VALUE"),
        ("metric", "--set metric_settings.mine.width=VALUE --set metric_settings.mine.height=VALUE"),
        ("generator", "--set generator_settings.width=VALUE --set generator_settings.height=VALUE"),
        ("segmenter", "--set segmenter_settings.width=VALUE --set segmenter_settings.height=VALUE"),
        ("brain_extractor", "--set brain_extractor_settings.width=VALUE --set brain_extractor_settings.height=VALUE"),
    ],
)
def test_a_setting_without_a_default_is_asked_for_as_its_command_takes_it(kind: str, how: str) -> None:
    entry = outside_entry(kind, dict, "mine", settings=Asked)
    with pytest.raises(SettingError) as caught:
        entry.resolve({})
    assert str(caught.value) == f"{words(kind)} mine: settings 'width', 'height' have no default; add {how}"
    with pytest.raises(SettingError, match=r": setting 'height' has no default; add --set height=VALUE$"):
        entry.resolve({"width": 1}, set_as="--set {}=VALUE")
    assert [row.default_text for row in describe(Asked)] == ["VALUE", "2", "VALUE"]
    assert [row.required for row in describe(Asked)] == [True, False, True]


def test_a_model_whose_plugin_is_gone_says_what_to_install() -> None:
    header = ModelHeader("segmenter", "swin", {}, "ctseg-none", "2.0")
    with pytest.raises(PluginError, match=r"segmenter 'swin' of ctseg-none 2\.0; install it: pip install ctseg-none"):
        load(found=[]).build_from_header(header)


@pytest.mark.parametrize(
    ("requires", "error"),
    [
        (["ctseg>=9", "numpy"], "needs ctseg>=9, this is 0.1.0; pip install --upgrade ctseg mine"),
        (["ctseg <0.1"], "needs ctseg<0.1, this is 0.1.0; pip install --upgrade ctseg mine"),
        (["ctseg[x y"], "its requirement 'ctseg[x y' cannot be read"),
        (["ctseg>=0.1,<0.2", "ctseg-mind>=9"], ""),
        (["ctseg>=9; extra == 'test'", "numpy>=99"], ""),
        (None, ""),
    ],
)
def test_a_plugin_made_for_another_ctseg_is_left_out(
    requires: list[str] | None, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctseg.plugins.versions.__version__", "0.1.0")
    point, package = plugin("mine", ctseg_register_similarity_metrics=metrics("mine"))
    package.requires = requires
    registry = load(found=[(point, package), plugin("other", ctseg_register_similarity_metrics=metrics("others"))])
    assert ("mine" in registry.names("similarity_metric")) == (not error)
    assert "others" in registry.names("similarity_metric")
    assert [item.error.startswith(error) for item in registry.broken] == [True] * bool(error)


def test_a_plugin_of_a_newer_contract_is_left_out_and_says_what_to_upgrade() -> None:
    newer, current = plugin("newer", ctseg_register_similarity_metrics=metrics("mine")), plugin("current")
    newer[0].load().CTSEG_CONTRACT = CONTRACT + 1
    current[0].load().CTSEG_CONTRACT = CONTRACT
    registry = load(found=[newer, current])
    assert "mine" not in registry.names("similarity_metric")
    assert [(item.package, item.error) for item in registry.broken] == [
        ("newer", "needs plugin contract 3, this ctseg has 2; pip install --upgrade ctseg")
    ]


def test_a_plugin_of_contract_1_registers_similarity_metrics_with_its_older_hook() -> None:
    silent, declared = (plugin(name, ctseg_register_metrics=metrics(name)) for name in ("silent", "declared"))
    declared[0].load().CTSEG_CONTRACT = 1
    registry = load(found=[silent, declared])
    assert not registry.broken
    for name in ("silent", "declared"):
        assert registry.get("similarity_metric", name).package == name
        assert name not in registry.names("metric")
    assert [item.package for item in registry.deprecated] == ["silent", "declared"]
    for item in registry.deprecated:
        assert item.note == (
            "ctseg_register_metrics registers a similarity metric by plugin contract 1; rename it to "
            "ctseg_register_similarity_metrics and set CTSEG_CONTRACT = 2"
        )


def test_a_plugin_of_contract_2_registers_metrics_of_evaluate_with_the_same_hook() -> None:
    found = plugin("new", ctseg_register_metrics=metrics("mine"), ctseg_register_similarity_metrics=metrics("other"))
    found[0].load().CTSEG_CONTRACT = 2
    registry = load(found=[found])
    assert (registry.get("metric", "mine").package, registry.names("metric").count("other")) == ("new", 0)
    assert "mine" not in registry.names("similarity_metric")
    assert "other" in registry.names("similarity_metric")
    assert registry.deprecated == []


def test_a_name_of_another_kind_is_pointed_to() -> None:
    with pytest.raises(PluginError, match=r"unknown metric 'phash'.*'phash' is the name of a similarity metric"):
        load(found=[]).get("metric", "phash")


@pytest.mark.parametrize("requirement", ["ctseg", "ctseg>=0.1", "ctseg>=0.1,<0.2", "ctseg >= 0.1.0, < 1", "numpy>=99"])
def test_a_plain_requirement_that_is_met_needs_no_parser(requirement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "__version__", "0.1.0")
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert versions.wrong_ctseg(Package("x", "1", (requirement,))) == ""


@pytest.mark.parametrize("requirement", ["ctseg>=0.2", "ctseg<0.1", "ctseg==0.2", "ctseg~=1.0", "ctseg>=0.1,!=0.1.0"])
def test_another_ctseg_is_asked_for(requirement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "__version__", "0.1.0")
    assert "this is 0.1.0" in versions.wrong_ctseg(Package("x", "1", (requirement,)))


def failing(error: BaseException) -> Any:
    def hook(**_: Any) -> None:
        raise error

    return hook


class SilentError(Exception):
    """Cannot be said."""

    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    "error", [SystemExit(3), RecursionError("deep"), MemoryError(), AssertionError("no"), SilentError()]
)
def test_whatever_a_plugin_raises_at_import_is_kept(error: BaseException) -> None:
    def load_broken() -> None:
        raise error

    found = (SimpleNamespace(load=load_broken, name="x"), SimpleNamespace(name="broken", version="0.1"))
    (item,) = load(found=[found]).broken
    assert item.error.startswith(type(error).__name__)


@pytest.mark.parametrize("name", [None, 3, "", "../x", "a b", "\x1b[31m", "=1+1", "x" * 101])
def test_a_name_that_is_none_is_no_plugins(name: Any) -> None:
    registry = load(found=[plugin("odd", ctseg_register_metrics=metrics(name), ctseg_register_models=metrics("m"))])
    assert [item.package for item in registry.broken] == ["odd"]
    assert not [entry for entry in registry.entries.values() if entry.package == "odd"]
    assert registry.names("metric")


def test_of_a_plugin_that_fails_nothing_stays() -> None:
    found = plugin("odd", ctseg_register_metrics=metrics("one"), ctseg_register_models=failing(ValueError("late")))
    registry = load(found=[found])
    assert "one" not in registry.names("metric")
    assert [item.error for item in registry.broken] == ["ValueError: late"]


@pytest.mark.parametrize("contract", ["two", None, object()])
def test_a_contract_that_is_no_number_is_the_plugins_fault(contract: Any) -> None:
    found = plugin("odd", ctseg_register_metrics=metrics("one"))
    found[0].load().CTSEG_CONTRACT = contract
    assert [item.package for item in load(found=[found]).broken] == ["odd"]


def test_what_a_plugin_prints_does_not_get_into_results(capsys: pytest.CaptureFixture[str]) -> None:
    def noisy(register: Any) -> None:
        sys.stdout.write("hello\n")
        register("one", dict)

    load(found=[plugin("noisy", ctseg_register_metrics=noisy)])
    assert capsys.readouterr() == ("", "hello\n")


def adding(name: str | None) -> Any:
    def ctseg_register_commands(app: Any) -> None:
        @app.command(name)
        def segment() -> None:
            """Something else."""

    return ctseg_register_commands


@pytest.mark.parametrize("hook", [failing(ValueError("no")), failing(SystemExit(1)), adding("segment"), adding(None)])
def test_commands_of_a_plugin_that_fails_or_takes_a_name_are_left_out(hook: Any) -> None:
    app = typer.Typer()
    app.command("segment")(lambda: None)
    found = [plugin("odd", ctseg_register_commands=hook), plugin("zz", ctseg_register_commands=adding("more"))]
    registry = load(found=found)
    register_commands(registry, app)
    assert [command.name for command in app.registered_commands] == ["segment", "more"]
    (item,) = registry.broken
    assert item.package == "odd"
    assert item.error.startswith("its commands are left out: ")


def test_two_packages_with_one_command_are_both_named() -> None:
    app = typer.Typer()
    registry = load(found=[plugin(name, ctseg_register_commands=adding("more")) for name in ("one", "two")])
    register_commands(registry, app)
    assert [(item.package, item.error) for item in registry.broken] == [
        (
            "two",
            "its commands are left out: there is a command 'more' of one already; CTSEG_DISABLE_PLUGINS=one takes "
            "these in its place",
        )
    ]


def test_a_package_whose_record_is_broken_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, about in (("none", None), ("empty", b""), ("binary", b"\xff\xfe\x00Name")):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "entry_points.txt").write_text("[ctseg]\nx = nothing_there:at.all\n")
        if about is not None:
            (folder / "METADATA").write_bytes(about)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load().names("segmenter")


def soft_header(made: dict[str, Any]) -> ModelHeader:
    settings = PreprocessSettings(size=64, brain_extractor="soft").model_dump(mode="json")
    return ModelHeader(
        "segmenter", "unet", {"width": 4, "depth": 2}, "ctseg", "0.1.0", {"preprocess": settings, **made}
    )


SOFT = {"brain_extractor": {"name": "soft", "package": "ctseg-soft", "version": "0.1.0"}}
NEEDS = "^this model needs brain extractor 'soft' of ctseg-soft 0.1.0"
BROKEN = Broken("ctseg_soft", "0.2.0", "ImportError: x")


@pytest.mark.parametrize(
    ("made", "broken", "words"),
    [
        (SOFT, [], f"{NEEDS}; install it: pip install ctseg-soft==0.1.0$"),
        (SOFT, [BROKEN], f"{NEEDS}; ctseg_soft 0.2.0 is installed and broken: ImportError: x$"),
        ({}, [], r"^unknown brain extractor 'soft'.*known: "),
        ({"brain_extractor": {}}, [], r"^unknown brain extractor 'soft'"),
    ],
)  # fmt: skip
def test_a_model_names_the_package_of_its_brain_extractor(
    made: dict[str, Any], broken: list[Broken], words: str, tmp_path: Path
) -> None:
    registry, header = load(outside=False), soft_header(made)
    registry.broken.extend(broken)
    save_model(tmp_path / "model.safetensors", registry.build_from_header(header), header)
    with pytest.raises(PluginError, match=words):
        load_for_segment([tmp_path / "model.safetensors"], "cpu", registry)


def test_slices_say_which_plugin_found_their_brain() -> None:
    made = outside_entry("brain_extractor", lambda: lambda volume: volume.voxels > 0, name="soft").extractor()
    assert made_by(made) == {"brain_extractor": {"name": "soft", "package": "ctseg-odd", "version": "0.3.1"}}
    assert made_by(load(outside=False).get("brain_extractor", "muschelli").extractor()) == {}


def test_a_training_hands_on_which_plugin_found_the_brain(tmp_path: Path) -> None:
    folder = toy(tmp_path / "ct", "ct", 0)
    assert "brain_extractor" not in ct_input(open_slices(folder))
    info = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(info | SOFT))
    assert ct_input(open_slices(folder))["brain_extractor"] == SOFT["brain_extractor"]
