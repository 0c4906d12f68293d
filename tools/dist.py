"""`make dist`: wheel and sdist, built twice to the same bytes, with an SBOM (CycloneDX) and a list of licences.

Run it with the Python of an environment that ctseg is installed in, with the packages of the group `dist`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from licences import Package, closure, extras_of

ROOT = Path(__file__).resolve().parents[1]


def build(out: Path, epoch: int) -> list[Path]:
    """A wheel and an sdist whose bytes depend on the sources alone."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "source"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(copy)], check=True)
        command = [sys.executable, "-m", "build", "--outdir", str(out), str(copy)]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    for sdist in out.glob("*.tar.gz"):
        settle(sdist, epoch)
    return sorted(out.iterdir())


def settle(sdist: Path, epoch: int) -> None:
    """Pack an sdist again with one time, one owner and one order, which setuptools leaves to the machine."""
    data = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=epoch) as packed:
        packed.write(data.getvalue())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sbom(path: Path, packages: list[Package]) -> None:
    """What ctseg installs with itself, as CycloneDX, without the development tools of this environment."""
    command = [
        sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml"),
        "--output-reproducible", "--of", "JSON", "-o", "-", sys.executable,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    path.write_text(json.dumps(pruned(json.loads(done.stdout), packages), indent=2, sort_keys=True) + "\n")


def pruned(sbom: dict[str, Any], packages: list[Package]) -> dict[str, Any]:
    """The components among `packages` and what joins them."""
    names = {package.name for package in packages}
    kept = [item for item in sbom["components"] if item["name"].lower().replace("_", "-").replace(".", "-") in names]
    refs = {item["bom-ref"] for item in kept} | {sbom["metadata"]["component"]["bom-ref"]}
    joined = [
        {**item, "dependsOn": [ref for ref in item.get("dependsOn", []) if ref in refs]}
        for item in sbom.get("dependencies", [])
        if item["ref"] in refs
    ]
    return {**sbom, "components": kept, "dependencies": joined}


def write_licences(path: Path, packages: list[Package], needed: set[str]) -> None:
    """A row a package; `needed` names those that are installed without any extra."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["package", "version", "licence", "installed"])
        writer.writerows(
            [package.name, package.version, package.licence, "always" if package.name in needed else "with an extra"]
            for package in packages
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    out = parser.parse_args().out
    packages = closure(extras=extras_of())
    needed = {package.name for package in closure()}
    copyleft = [package for package in packages[1:] if package.is_copyleft]
    if copyleft:
        sys.stderr.write(f"under the GPL: {', '.join(package.name for package in copyleft)}; make it an extra\n")
        return 1
    epoch = int(subprocess.check_output(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"], text=True))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        one, two = build(Path(first), epoch), build(Path(second), epoch)
        differing = [a.name for a, b in zip(one, two, strict=True) if (a.name, digest(a)) != (b.name, digest(b))]
        if differing:
            sys.stderr.write(f"built twice and not the same: {', '.join(differing)}\n")
            return 1
        for path in one:
            shutil.copy(path, out / path.name)
    write_sbom(out / "ctseg.cdx.json", packages)
    write_licences(out / "licences.csv", packages, needed)
    lines = [f"{digest(path)}  {path.name}" for path in sorted(out.iterdir())]
    more = len(packages) - len(needed)
    summary = f"{len(needed) - 1} packages are installed with ctseg, {more} more with its extras, none under the GPL; "
    summary += "built twice to the same bytes"
    (out / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    sys.stdout.write("\n".join([*lines, summary]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
