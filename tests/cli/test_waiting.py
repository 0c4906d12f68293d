"""What a plugin leaves running is named at the end, once, and ended by nobody but the user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CALL = """
import sys
import ctseg.cli.waiting
from ctseg.cli.main import run
ctseg.cli.waiting.WAIT_S = 0.2
sys.argv = ["ctseg", *{words!r}]
{then}
"""
STARTS = """
import os, threading, time
def stay(parent=os.getpid()):
    while parent == os.getpid() or parent == os.getppid(): time.sleep(0.05)
"""
LEFT = {
    "thread stays (DIR/ctseg_odd.py:4)": "threading.Thread(target=stay, name='stays').start()",
    "thread a (DIR/ctseg_odd.py:4) and 2 more": (
        "for name in 'abc': threading.Thread(target=stay, name=name).start()"
    ),
    "thread its_0 (DIR/ctseg_odd.py:4)": (
        "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(1, 'its').submit(stay)"
    ),
    "process child": (
        "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=stay, name='child').start()"
    ),
}  # fmt: skip
WAITS = "ctseg: the command is over and waits for {}, which a plugin or a library left running; Ctrl-C ends it"
ENDED = "ctseg: {} while it waited for what was left running; the command itself was done"


def begun(folder: Path, code: str, words: list[str], then: str = "run()") -> subprocess.Popen[str]:
    """A command in a process of its own, where a package is installed whose module is this code."""
    about = folder / "ctseg_odd-0.3.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ctseg-odd\nVersion: 0.3.1\n")
    (about / "entry_points.txt").write_text("[ctseg]\nodd = ctseg_odd\n")
    (folder / "ctseg_odd.py").write_text(code)
    here = {name: value for name, value in os.environ.items() if name != "CTSEG_DISABLE_PLUGINS"}
    here["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, sys.path)])
    call = [sys.executable, "-c", CALL.format(words=words, then=then)]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("left", LEFT)
def test_what_a_plugin_left_running_is_named_and_a_signal_ends_it(
    left: str, number: signal.Signals, tmp_path: Path
) -> None:
    with begun(tmp_path, STARTS + LEFT[left], ["plugins", "show", "nothing"]) as process:
        assert line_of(process).startswith("ctseg: error: unknown plugin 'nothing'")
        assert line_of(process) == WAITS.format(left.replace("DIR", tmp_path.name))
        assert process.poll() is None
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (process.returncode, rest.splitlines()) == (2, [ENDED.format(word)])


def test_what_ends_by_itself_is_not_named(tmp_path: Path) -> None:
    code = "import threading\nthreading.Thread(target=threading.main_thread().join).start()"
    with begun(tmp_path, code, ["plugins", "--json"]) as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")


GOES_ON = """
import threading
try:
    run()
except SystemExit as end:
    left = [item for item in threading.enumerate() if item.name == "stays"]
    watch = [item for item in threading.enumerate() if item.daemon]
    sys.stderr.write(f"went on after {end.code} with {len(left)} and {len(watch)}\\n")
    over.set()
    watch[0].join()
    sys.stderr.write("said nothing\\n")
"""


def test_a_program_that_called_a_command_goes_on(tmp_path: Path) -> None:
    code = (
        "import __main__, threading\n__main__.over = threading.Event()\n"
        "threading.Thread(target=__main__.over.wait, name='stays').start()"
    )
    with begun(tmp_path, code, ["plugins", "show", "nothing"], GOES_ON) as process:
        _, said = process.communicate(timeout=60)
    assert said.splitlines()[1:] == ["went on after 2 with 1 and 1", "said nothing"]
    assert process.returncode == 0
