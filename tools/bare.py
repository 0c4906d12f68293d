"""`make bare`: the wheel in bare environments, each Python with the newest versions, and with the lowest allowed ones.

Run it with the Python of an environment that has the packages of the group `dist`. Each environment takes up to 8 GB
(PyPI's torch brings CUDA with it) and is removed before the next is made, unless --keep is given. With --extras, all
optional extras are installed, too, and used.
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
    run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments, f"{wheel}{extras}")
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = (options.keep or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", place / "wheel", ROOT, stdout=subprocess.DEVNULL)
        (wheel,) = (place / "wheel").glob("*.whl")
        for number, python in enumerate(options.pythons):
            for wanted in ([], [LOWEST]):
                own = place / f"{number}-{'lowest' if wanted else 'newest'}"
                found = check(python, wheel, own, wanted, options.extras)
                sys.stdout.write(f"{'lowest' if wanted else 'newest'}: {found}")
                sys.stdout.flush()
                if options.keep is None:
                    shutil.rmtree(own)


if __name__ == "__main__":
    main()
