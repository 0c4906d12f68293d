"""A working folder of somebody else's files runs no code: what lies in it is data, whatever it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ctseg
from ctseg.errors import InputError
from ctseg.locks import held
from ctseg.outputs.guard import guard_output
from ctseg.outputs.sharing import sharing

pytestmark = pytest.mark.slow

MODULES = ("multiprocessing", "pickle", "torch", "numpy", "socket", "sitecustomize", "ctseg", "random")
CALL = """
import sys
from ctseg.cli import main as command
from ctseg.parallel import ordered_map

def main():
    print([result for _, result in ordered_map(str, range(4), workers=2)])
    return 0

command.main = main
command.run()
"""


def test_no_module_is_taken_from_the_working_folder(tmp_path: Path) -> None:
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'a').write({name!r})\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    places = [str(Path(ctseg.__file__).parents[1]), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(place for place in places if place)
    done = subprocess.run(
        [sys.executable, "-P", "-c", CALL], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert not (tmp_path / "was-run").exists(), (tmp_path / "was-run").read_text()
    assert done.stdout == "['0', '1', '2', '3']\n", done.stderr


def test_every_other_python_that_is_begun_leaves_the_working_folder_out() -> None:
    root = Path(ctseg.__file__).parent
    files = [*root.rglob("*.py"), *(root.parent / "plugins").glob("*/src/**/*.py")]
    begun = [line for path in files for line in path.read_text().splitlines() if "[sys.executable" in line]
    assert len(begun) == 1
    assert all('[sys.executable, "-P", ' in line for line in begun)


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write into the folder could name any file; it was made, and waited for without end."""
    (tmp_path / ".ctseg-lock-out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), held(tmp_path / "out"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_calls_that_share_write_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / ".ctseg-share-out").symlink_to(tmp_path / "letters")
    output = guard_output(tmp_path / "out", "segment", inputs=[], share=True)
    with pytest.raises(InputError, match="is a link"), sharing(output, "key", "settings"):
        pass
    assert list((tmp_path / "letters").iterdir()) == []
