"""The plugin host against planted faults."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ctseg.errors import PluginError, SettingError
from ctseg.plugins.hookspecs import CONTRACT, hookimpl
from ctseg.plugins.host import disabled_plugins, load
from ctseg.runs import ModelHeader
from ctseg.settings import Settings


def plugin(name: str, **hooks: Any) -> tuple[Any, Any]:
    """An installed package called `name` whose module has `hooks`."""
    module = ModuleType(name)
    for key, function in hooks.items():
        setattr(module, key, hookimpl(function))
    return SimpleNamespace(load=lambda: module, name=name), SimpleNamespace(name=name, version="1.2")


def metrics(*names: str) -> Any:
    def ctseg_register_metrics(register: Any) -> None:
        for name in names:
            register(name, dict, summary="a metric")

    return ctseg_register_metrics


def test_the_built_ins_come_through_the_hooks() -> None:
    registry = load(found=[])
    assert {"amd", "phash", "dhash", "whash", "ahash"} <= set(registry.names("metric"))
    assert registry.names("generator") == ["amd", "resnet"]
    assert registry.names("segmenter") == ["fcn", "unet"]
    assert "muschelli" in registry.names("brain_extractor")
    for entry in registry.entries.values():
        assert entry.package == "ctseg"
        assert entry.summary
        assert entry.reference
        entry.resolve()


def test_an_outside_plugin_registers_with_its_package() -> None:
    registry = load(found=[plugin("other", ctseg_register_metrics=metrics("mine"))])
    entry = registry.get("metric", "mine")
    assert (entry.package, entry.version) == ("other", "1.2")


def test_a_duplicate_name_names_both_packages() -> None:
    with pytest.raises(PluginError, match=r"'amd' is registered by both ctseg and other.*CTSEG_DISABLE_PLUGINS=other"):
        load(found=[plugin("other", ctseg_register_metrics=metrics("amd"))])


def test_a_misspelt_hook_fails_loudly() -> None:
    with pytest.raises(PluginError, match=r"plugin other 1\.2: .*ctseg_register_metric"):
        load(found=[plugin("other", ctseg_register_metric=metrics("mine"))])


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
    with pytest.raises(PluginError, match=r"unknown metric 'mine'.*known: ahash, amd.*plugin broken is broken"):
        registry.get("metric", "mine")


def test_plugins_can_be_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [plugin("other_one", ctseg_register_metrics=metrics("mine"))]
    monkeypatch.setenv("CTSEG_DISABLE_PLUGINS", "Other-One")
    assert "mine" not in load(found=found).names("metric")
    monkeypatch.setenv("CTSEG_DISABLE_PLUGINS", "1")
    assert "mine" not in load(found=found).names("metric")
    monkeypatch.delenv("CTSEG_DISABLE_PLUGINS")
    assert "mine" not in load(found=found, outside=False).names("metric")
    assert "mine" in load(found=found).names("metric")
    assert disabled_plugins({"CTSEG_DISABLE_PLUGINS": "a, B_c"}) == (False, {"a", "b-c"})


def test_settings_are_checked_before_the_factory_runs() -> None:
    class MetricSettings(Settings):
        weight: int = 3

    def register_metrics(register: Any) -> None:
        register("mine", lambda weight: weight, settings=MetricSettings)

    registry = load(found=[plugin("other", ctseg_register_metrics=register_metrics)])
    assert registry.get("metric", "mine").build({"weight": 5}) == 5
    with pytest.raises(SettingError, match="metric mine: unknown setting 'wieght'.*did you mean 'weight'"):
        registry.get("metric", "mine").build({"wieght": 5})


def test_a_model_whose_plugin_is_gone_says_what_to_install() -> None:
    header = ModelHeader("segmenter", "swin", {}, "ctseg-monai", "2.0")
    with pytest.raises(PluginError, match=r"segmenter 'swin' of ctseg-monai 2\.0; install it: pip install ctseg-monai"):
        load(found=[]).build_from_header(header)


def test_a_plugin_of_a_newer_contract_is_left_out_and_says_what_to_upgrade() -> None:
    newer, current = plugin("newer", ctseg_register_metrics=metrics("mine")), plugin("current")
    newer[0].load().CTSEG_CONTRACT = CONTRACT + 1
    current[0].load().CTSEG_CONTRACT = CONTRACT
    registry = load(found=[newer, current])
    assert "mine" not in registry.names("metric")
    assert [(item.package, item.error) for item in registry.broken] == [
        ("newer", "needs plugin contract 2, this ctseg has 1; pip install --upgrade ctseg")
    ]
