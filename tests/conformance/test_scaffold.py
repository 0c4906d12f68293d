"""`ctseg plugins new` writes what plugins/ctseg-plugin-template is, and each kind of it works."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ctseg.conformance.scaffold import KINDS, render, write_package
from ctseg.errors import OutputExistsError, SettingError
from ctseg.plugins.host import load

TEMPLATE = Path(__file__).parents[2] / "plugins" / "ctseg-plugin-template"
Install = Callable[..., None]


def test_the_template_package_is_in_step() -> None:
    rendered = render("plugin-template")
    on_disk = {
        str(path.relative_to(TEMPLATE)): path.read_text()
        for path in TEMPLATE.rglob("*")
        if path.suffix in (".py", ".toml", ".md") and "egg-info" not in str(path) and "build" not in path.parts
    }
    assert on_disk == rendered


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_each_kind_is_a_package_that_registers(tmp_path: Path, install: Install, kind: str) -> None:
    name = f"new-{kind.replace('_', '-')}"
    written = write_package(tmp_path / "package", name, kind)
    assert all(path.is_file() for path in written)
    package, module = f"ctseg-{name}", f"ctseg_{name.replace('-', '_')}"
    install(tmp_path / "package" / "src", package, module)
    registry = load()
    assert not registry.broken
    registered = {entry.kind for entry in registry.entries.values() if entry.package == package}
    nothing_yet = {"command", "model"}
    assert registered == (set(KINDS) - nothing_yet if kind == "all" else {kind} - nothing_yet)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "counts"), [("similarity_metric", "14 passed, 2 skipped"), ("metric", "13 passed, 1 skipped")]
)
def test_a_new_metric_passes_its_own_tests(tmp_path: Path, install: Install, kind: str, counts: str) -> None:
    write_package(tmp_path / "package", "fresh", kind)
    install(tmp_path / "package" / "src", "ctseg-fresh", "ctseg_fresh")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "package")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert counts in done.stdout


def test_a_new_command_joins_the_command_line(
    tmp_path: Path, install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctseg.cli import common
    from ctseg.cli.main import main

    write_package(tmp_path / "package", "counted", "command")
    install(tmp_path / "package" / "src", "ctseg-counted", "ctseg_counted")
    monkeypatch.setattr(common.STATE, "registry", None)
    assert main(["counted", str(tmp_path)]) == 2
    assert "not a slice set" in capsys.readouterr().err


def test_names_are_checked() -> None:
    assert "src/ctseg_my_net/segmenter.py" in render("ctseg-my-net", "segmenter")
    for name in ("My-Net", "9net", "", "my--net", "net!", "my__net", "my-_net", "net_", "_net"):
        with pytest.raises(SettingError, match="small letters"):
            render(name)
    with pytest.raises(SettingError, match="unknown kind of plugin 'segmentor'.*segmenter"):
        render("my-net", "segmentor")


def test_a_metric_in_mm_has_the_name_that_the_kit_asks_for() -> None:
    files = render("centroid_mm", "metric")
    assert 'name = "ctseg-centroid-mm"' in files["pyproject.toml"]
    assert 'centroid_mm = "ctseg_centroid_mm"' in files["pyproject.toml"]
    assert 'name="centroid_mm"' in files["src/ctseg_centroid_mm/metric.py"]
    assert 'checks("metric", "centroid_mm")' in files["tests/test_conformance.py"]


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already"):
        write_package(tmp_path, "my-net")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
