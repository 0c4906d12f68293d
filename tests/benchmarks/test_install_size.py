"""How large the core installation is: every file of all that ctseg needs, as pip has recorded them."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from interleaved import Row

_GOAL = "in GB; goal 1.1"


def needed() -> dict[str, Distribution]:
    """ctseg and whatever its `pyproject.toml` requires without extras, directly or not."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, Distribution] = {}
    waiting = [_name_in(line) for line in project["dependencies"]]
    while waiting:
        key = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            package = distribution(key)
        except PackageNotFoundError:  # of another system, or a marker that does not hold here
            continue
        if key in found:
            continue
        found[key] = package
        waiting += [_name_in(line) for line in package.requires or () if "extra ==" not in line]
    return found


def _name_in(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def size_gb(package: Distribution) -> float:
    """Bytes of a package's files on the disk, compiled modules left out."""
    files = (Path(str(package.locate_file(file))) for file in package.files or () if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e9


def spare_gb(torch: Distribution) -> float:
    """Of that, torch's own tests and programs, which no import and no call of ctseg uses, `torch_shm_manager` apart."""
    spare = [Path(file) for file in torch.files or () if file.parts[:2] in (("torch", "test"), ("torch", "bin"))]
    places = (Path(str(torch.locate_file(file))) for file in spare if file.name != "torch_shm_manager")
    return sum(path.stat().st_size for path in places if path.is_file()) / 1e9


def rows() -> list[Row]:
    """GB instead of seconds: the core installation beside torch alone, which is most of it, and without its tests."""
    packages = needed()
    whole = sum(size_gb(package) for package in packages.values())
    torch, spare = size_gb(packages["torch"]), spare_gb(packages["torch"])
    everything, bare = {"all that ctseg needs, GB": whole}, {"torch's tests and programs removed, GB": whole - spare}
    return [
        Row(f"core installation, {len(packages)} packages", everything | {"torch alone, GB": torch}, _GOAL),
        Row("the same", bare | {"all that ctseg needs, GB": whole}, _GOAL),
    ]


@pytest.mark.slow
def test_the_core_is_counted() -> None:
    row, bare = rows()
    assert 0.3 < row.seconds["all that ctseg needs, GB"] < 6.0
    assert bare.ratio >= 1
    assert {"torch", "numpy", "pydicom"} <= set(needed())
