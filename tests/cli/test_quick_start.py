"""A call imports what it uses, and what it prints is what plain typer would print."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from ctseg.cli.main import main

PLAIN = "import sys; from ctseg.cli import main; main.quicken = lambda **_: None; main.listed = lambda app: app; "
QUICK = "import sys; from ctseg.cli import main; "
RUN = "code = main.main(sys.argv[1:]); "
NAME = "print('loaded:', *[name for name in {!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
FOR_TRAINING = ("pandas", "lightning_fabric", "matplotlib", "imagehash", "skimage.segmentation", "skimage.measure")
FOR_RECOVERY = ("ctseg.phantom.anatomy", "scipy.optimize")


def call(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("argv", [["--help"], ["segment", "--help"], ["plugins"]])
def test_starting_needs_neither_pydantic_nor_markdown(argv: list[str]) -> None:
    done = call(QUICK + RUN + NAME.format(("pydantic", "markdown_it", "pygments")), *argv)
    assert done.returncode == 0, done.stderr
    assert done.stderr.rstrip().endswith("loaded:")


@pytest.mark.slow
@pytest.mark.parametrize("words", ["", "--help", "-q -h", "segment -h", "models --help", "segment --tta x", "sgment"])
def test_nothing_else_is_said(words: str) -> None:
    plain, quick = (call(start + RUN + "sys.exit(code)", *words.split()) for start in (PLAIN, QUICK))
    assert (quick.returncode, quick.stdout, quick.stderr) == (plain.returncode, plain.stdout, plain.stderr)


@pytest.mark.slow
def test_whoever_imports_what_help_left_out_gets_it() -> None:
    code = (
        "from ctseg.cli.quick_start import quicken; quicken(helps=True); from typer import rich_utils as t; "
        "from rich.markdown import Markdown; from rich.traceback import Traceback; made = t.Markdown('x');"
        "assert type(made) is Markdown and isinstance(made, t.Markdown) and not isinstance('x', t.Markdown);"
        "assert t.Traceback.from_exception == Traceback.from_exception"
    )
    assert call(code).returncode == 0


@pytest.mark.slow
def test_segment_imports_nothing_that_only_others_use(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from test_reading_speed import head, write_series
    from test_segment_speed import demo_model

    (tmp_path / "scan").mkdir()
    write_series(tmp_path / "scan", head(6, 96), pixel_mm=2.4)
    words = [
        "segment",
        str(tmp_path / "scan"),
        "--model",
        str(demo_model(tmp_path / "run")),
        "-o",
        str(tmp_path / "out"),
    ]
    done = call(QUICK + RUN + NAME.format(FOR_TRAINING + FOR_RECOVERY), *words, "--set", "threshold=0.3")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").glob("*.dcm"))
    assert done.stderr.rstrip().endswith("loaded:"), done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["plugins", "show", "nothing"]])
def test_memory_is_looked_after_again(argv: list[str]) -> None:
    assert main(argv) in (0, 2)
    assert gc.isenabled()
