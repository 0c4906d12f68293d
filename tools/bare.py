"""`make bare`: the wheel in bare environments, each Python with the newest versions, and with the lowest allowed ones.

Run it with the Python of an environment that has the packages of the group `dist`. Each environment takes up to 8 GB
(PyPI's torch brings CUDA with it) and is removed before the next is made, unless --keep is given. uv installs it: files
are linked from uv's cache, so that they are on the disk once. With --extras, all optional extras are installed, too,
and used. `--newest torch==2.13.0 --find-links FOLDER` takes a smaller build of torch for the newest versions, where a
folder has one; the lowest are always those of pyproject.toml.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOWEST = "lowest-direct"
EXTRAS = "[cluster,export,itk,monai,openvino]"
"""All but `libjpeg`, which is under the GPL and which nothing needs."""


def run(*words: str | Path, **more: object) -> None:
    subprocess.run([str(word) for word in words], check=True, **more)  # type: ignore[call-overload]


def lowest(place: Path, python: Path, extras: str) -> list[str]:
    """Arguments for pip: every package that pyproject.toml names at the lowest version that it allows."""
    file = place / "lowest.txt"
    chosen = [word for extra in extras.strip("[]").split(",") if extra for word in ("--extra", extra)]
    run(
        sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate", "--resolution", LOWEST,
        "--python", python, *chosen, "--output-file", file, ROOT / "pyproject.toml",
    )  # fmt: skip
    return ["-r", str(file)]


def check(python: Path, wheel: Path, place: Path, wanted: list[str], extras: str) -> str:
    """Install the wheel into a new environment and use it there; returns what the check says."""
    place.mkdir(parents=True)
    run(python, "-m", "venv", place / "venv")
    own = place / "venv" / "bin" / "python"
    arguments = lowest(place, python, extras) if wanted == [LOWEST] else wanted
    run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", own, *arguments, f"{wheel}{extras}")
    (place / "work").mkdir()
    done = subprocess.run(
        [own, "-I", ROOT / "tools" / "bare_check.py"],
        cwd=place / "work",
        check=False,
        text=True,
        stdout=subprocess.PIPE,
    )
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="*", type=Path, default=[Path(sys.executable)], help="interpreters to try")
    parser.add_argument("--extras", action="store_const", const=EXTRAS, default="", help="and all optional extras")
    parser.add_argument("--keep", type=Path, help="folder for the environments, which then stay")
    parser.add_argument(
        "--newest", action="append", default=[], help="what the newest versions must meet: torch==2.13.0"
    )
    parser.add_argument("--find-links", help="folder of wheels beside PyPI, for --newest")
    parser.add_argument("--only", choices=("newest", "lowest"), help="one of the two kinds of environment")
    options = parser.parse_args()
    links = ["--find-links", options.find_links] if options.find_links else []
    kinds = {"newest": [*links, *options.newest], "lowest": [LOWEST]}
    kinds = {options.only: kinds[options.only]} if options.only else kinds
    with tempfile.TemporaryDirectory() as temporary:
        place = (options.keep or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", place / "wheel", ROOT, stdout=subprocess.DEVNULL)
        (wheel,) = (place / "wheel").glob("*.whl")
        for number, python in enumerate(options.pythons):
            for kind, wanted in kinds.items():
                own = place / f"{number}-{kind}"
                found = check(python, wheel, own, wanted, options.extras)
                sys.stdout.write(f"{kind}: {found}")
                sys.stdout.flush()
                if options.keep is None:
                    shutil.rmtree(own)


if __name__ == "__main__":
    main()
