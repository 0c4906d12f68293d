"""The plugin packages as pip handles them: built, installed, upgraded, refused beside another ctseg, removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("setuptools", "77", reason="builds wheels without an index: pip install 'setuptools>=77'")

ROOT = Path(__file__).parents[2]
PACKAGES = ("ctseg-mind", "ctseg-cut", "ctseg-monai", "ctseg-plugin-template")
CLASH = "ctseg-plugin-template"


def run(*command: str | Path, code: int = 0) -> str:
    """Output of a command that ends with a code."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"COLUMNS": "300", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def sources(folder: Path, version: str, requires: str = "ctseg>=0.1") -> Iterator[Path]:
    """Copies of the packages with another version; building in the repository would leave folders there."""
    for name in PACKAGES:
        copy = folder / version / name
        shutil.copytree(ROOT / "plugins" / name, copy, ignore=shutil.ignore_patterns("tests", "*.egg-info", "build"))
        project = copy / "pyproject.toml"
        text = project.read_text(encoding="utf-8")
        assert text.count('version = "0.1.0"') == text.count('"ctseg>=0.1"') == 1
        text = text.replace('version = "0.1.0"', f'version = "{version}"').replace('"ctseg>=0.1"', f'"{requires}"')
        project.write_text(text, encoding="utf-8")
        yield copy


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of ctseg, of two versions of the packages, and of one that needs a newer ctseg."""
    folder = tmp_path_factory.mktemp("wheels")
    core = folder / "ctseg"
    core.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, core)
    shutil.copytree(ROOT / "ctseg", core / "ctseg", ignore=shutil.ignore_patterns("__pycache__"))
    newest = next(place for place in sources(folder, "0.3.0", "ctseg>=9") if place.name == CLASH)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    run(*build, folder / "dist", core, *sources(folder, "0.1.0"))
    run(*build, folder / "dist", *sources(folder, "0.2.0"))
    run(*build, folder / "clash", newest)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that sees this one's packages, but for ctseg's."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    others = folder / "others"
    others.mkdir()
    for place in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "ctseg" not in place.name and place.suffix != ".pth":
            (others / place.name).symlink_to(place)
    (site_of(folder / "venv") / "others.pth").write_text(f"{others}\n")
    return folder / "venv" / "bin" / "python"


def site_of(environment: Path) -> Path:
    return next((environment / "lib").glob("python*/site-packages"))


def plugins_of(python: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Package -> version of what is registered, and the broken ones."""
    found = json.loads(run(python, "-m", "ctseg", "-q", "plugins", "--json"))
    return {entry["package"]: entry["version"] for entry in found["plugins"]}, found["broken"]


def test_packages_are_installed_upgraded_and_removed(wheels: Path, python: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "--quiet", "--find-links", wheels / "dist", *(f"{name}==0.1.0" for name in PACKAGES))
    versions, broken = plugins_of(python)
    assert versions == {"ctseg": versions["ctseg"], **dict.fromkeys(PACKAGES, "0.1.0")}
    assert broken == []
    assert "plugin-template" in run(python, "-m", "ctseg", "--help")

    run(*pip, "install", "--quiet", "--upgrade", "--find-links", wheels / "dist", *PACKAGES)
    assert plugins_of(python)[0] == {"ctseg": versions["ctseg"], **dict.fromkeys(PACKAGES, "0.2.0")}

    said = run(*pip, "install", "--find-links", wheels / "dist", "--find-links", wheels / "clash", f"{CLASH}==0.3.0",
               code=1)  # fmt: skip
    assert "ctseg>=9" in said
    assert plugins_of(python)[0][CLASH] == "0.2.0"  # pip left it as it was
    run(*pip, "install", "--quiet", "--no-deps", "--find-links", wheels / "clash", f"{CLASH}==0.3.0")
    left, broken = plugins_of(python)
    assert CLASH not in left
    assert {"ctseg-mind", "ctseg-cut", "ctseg-monai"} < set(left)
    version = versions["ctseg"]
    assert [(item["package"], item["error"]) for item in broken] == [
        (CLASH, f"needs ctseg>=9, this is {version}; pip install --upgrade ctseg {CLASH}")
    ]
    assert "ctseg>=9" in run(*pip, "check", code=1)

    run(*pip, "uninstall", "--quiet", "--yes", *PACKAGES)
    assert plugins_of(python) == ({"ctseg": version}, [])
    run(*pip, "uninstall", "--quiet", "--yes", "ctseg")
    site = site_of(python.parents[1])
    assert [path.name for path in site.iterdir() if "ctseg" in path.name] == []
