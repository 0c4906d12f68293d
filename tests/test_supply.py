"""What is installed with ctseg: no GPL, tested versions that are locked with hashes, archives with settled bytes."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bare_check
import pytest
from dist import pruned, settle
from licences import Package, closure, extras_of, licence_of
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def test_nothing_that_ctseg_needs_is_under_the_gpl() -> None:
    packages = closure()
    assert packages[0].name == "ctseg"
    assert {"numpy", "torch", "pydicom", "python-gdcm", "pillow"} <= {package.name for package in packages}
    assert "pytest" not in {package.name for package in packages}
    assert [package for package in packages if package.is_copyleft] == []


def test_nothing_that_an_extra_needs_is_under_the_gpl() -> None:
    """That of the decoder apart, which is no dependency for that reason."""
    names = {package.name for package in closure()}
    assert {"cluster", "export", "itk", "monai", "openvino"} <= set(extras_of())
    packages = closure(extras=extras_of())
    added = {package.name for package in packages} - names
    assert {"distributed", "onnx", "onnxruntime", "simpleitk", "monai", "openvino", "msgpack"} <= added
    assert "pylibjpeg-libjpeg" not in added
    assert [package for package in packages if package.is_copyleft] == []
    assert [package.name for package in packages[1:] if package.licence == "not said"] == []


@pytest.mark.parametrize(
    ("licence", "copyleft"),
    [
        ("GPL V3.0", True), ("GNU General Public License v3 (GPLv3)", True), ("AGPL-3.0-only", True),
        ("GPL-2.0-or-later", True), ("Affero", True), ("MIT OR GPL-2.0-only", False), ("LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False), ("BSD-3-Clause", False), ("Apache-2.0", False),
        ("not said", False),
    ],
)  # fmt: skip
def test_the_gpl_is_known_by_its_names(licence: str, copyleft: bool) -> None:
    assert Package("x", "1", licence, ()).is_copyleft == copyleft


def test_licences_are_read_as_packages_write_them() -> None:
    assert licence_of(distribution("pylibjpeg-openjpeg")) == "MIT License"
    assert licence_of(distribution("python-gdcm")).startswith("Apache")
    fields = {"License": "A whole\ntext"}
    data = SimpleNamespace(get=fields.get, get_all=lambda name: [])
    assert licence_of(SimpleNamespace(metadata=data)) == "A whole"  # type: ignore[arg-type]


def locked() -> dict[str, tuple[str, int]]:
    """Name -> version and how many hashes."""
    found: dict[str, tuple[str, int]] = {}
    name = ""
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        head = re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)", line)
        if head:
            name = head[1].lower().replace("_", "-").replace(".", "-")
            found[name] = (head[2], 0)
        elif re.match(r"\s+--hash=sha256:[0-9a-f]{64}", line):
            found[name] = (found[name][0], found[name][1] + 1)
    return found


def test_the_tested_versions_are_locked_with_hashes() -> None:
    constraints = pinned()
    lock = locked()
    plugins = " ".join(path.read_text(encoding="utf-8") for path in ROOT.glob("plugins/*/pyproject.toml"))
    assert [name for name in constraints if name not in lock and f'"{name}>=' not in plugins] == []
    assert {
        name: lock[name][0] for name in constraints if lock.get(name, ("",))[0] not in ("", constraints[name])
    } == {}
    assert [name for name, (_, hashes) in lock.items() if not hashes] == []


def pinned() -> dict[str, str]:
    """Name -> version, of `constraints.txt`."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_the_tested_versions_can_be_installed_on_each_python(python: str) -> None:
    """Debian 12 has 3.11.2, where one pin that wants 3.11.5 had pip try older versions of all else for ten minutes."""
    packages = [package for package in distributions() if canonicalize_name(package.name) in pinned()]
    assert len(packages) > 100
    wants = {package.name: package.metadata.get("Requires-Python") or "" for package in packages}
    assert [name for name, said in wants.items() if not SpecifierSet(said).contains(python)] == []


def test_whatever_the_tests_need_has_a_tested_version() -> None:
    """Of what is installed for ctseg and its tests, through however many packages."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [*groups["project"]["dependencies"], *groups["dependency-groups"]["test"]]
    waiting, found = [Requirement(line) for line in lines], set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(line) for line in distribution(name).requires or ()]
    assert len(found) > 80
    assert sorted(found - {*pinned(), "setuptools"}) == []


def archive(path: Path, mtime: int, order: list[str]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name in order:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname, member.uid = 1, mtime, f"user{mtime}", mtime
            file.addfile(member, io.BytesIO(b"x"))
    return path


def test_an_sdist_is_the_same_whenever_and_wherever_it_is_packed(tmp_path: Path) -> None:
    one, two = archive(tmp_path / "a.tar.gz", 5, ["p/a", "p/b"]), archive(tmp_path / "b.tar.gz", 9, ["p/b", "p/a"])
    assert one.read_bytes() != two.read_bytes()
    for path in (one, two):
        settle(path, 1_700_000_000)
    assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(two.read_bytes()).digest()
    with tarfile.open(one) as file:
        assert [(item.name, item.mtime, item.uid) for item in file] == [
            ("p/a", 1_700_000_000, 0), ("p/b", 1_700_000_000, 0)
        ]  # fmt: skip


def test_the_sbom_has_no_development_tools() -> None:
    sbom: dict[str, Any] = {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [{"name": "numpy", "bom-ref": "n"}, {"name": "pytest", "bom-ref": "p"}],
        "dependencies": [{"ref": "root", "dependsOn": ["n", "p"]}, {"ref": "p"}, {"ref": "n"}],
    }
    found = pruned(sbom, [Package("ctseg", "1", "", ()), Package("numpy", "2", "", ())])
    assert [item["name"] for item in found["components"]] == ["numpy"]
    assert found["dependencies"] == [{"ref": "root", "dependsOn": ["n"]}, {"ref": "n", "dependsOn": []}]


def test_the_bare_check_knows_what_it_plants() -> None:
    hu, bleed = bare_check.head(0)
    assert bleed.sum() * 5 * 5 * 10 / 1000 == 38.0
    assert 69 < hu[bleed].mean() < 71


def test_the_bare_check_needs_nothing_of_the_clone() -> None:
    lines = (ROOT / "tools" / "bare_check.py").read_text(encoding="utf-8").splitlines()
    named = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert named <= set(sys.stdlib_module_names) | {"numpy", "nibabel"}
