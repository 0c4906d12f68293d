"""What a plugin leaves running keeps no command from ending, and what it prints does not get into results."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from killed_worker import end_soon, leave_a_thread

from ctseg.parallel import ordered_map

CALL = """
import sys
import ctseg.leaving
from ctseg.cli.main import run
ctseg.leaving.WAIT_S = {wait}
sys.argv = ["ctseg", *{words!r}]
if __name__ == "__main__":
    run()
"""
STARTS = "import threading, time\ndef stay(): time.sleep(600)\n"
LEFT = {
    "thread stays (DIR/ctseg_odd.py:2)": "threading.Thread(target=stay, name='stays').start()",
    "thread a and 2 more": "for name in 'abc': threading.Thread(target=time.sleep, args=(600,), name=name).start()",
    "thread its_0 (DIR/ctseg_odd.py:2)": (
        "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(1, 'its').submit(stay)"
    ),
    "process child": (
        "import multiprocessing\n"
        "multiprocessing.get_context('fork').Process(target=stay, name='child').start()"
    ),
    "a function of atexit": "import atexit\natexit.register(stay)",
}  # fmt: skip
PRINTS = {
    "import": "print('odd'); os.write(1, b'odd')",
    "thread": (
        "def go():\n    while True: print('odd'); os.write(1, b'odd')\nthreading.Thread(target=go, daemon=True).start()"
    ),
    "atexit": "import atexit\natexit.register(lambda: (print('odd'), os.write(1, b'odd')))",
    "program": "import subprocess\nsubprocess.Popen(['sh', '-c', 'sleep 0.1; echo odd'])",
}  # fmt: skip


def installed(folder: Path, code: str) -> dict[str, str]:
    """The environment in which a package whose module is this code is installed."""
    about = folder / "ctseg_odd-0.3.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ctseg-odd\nVersion: 0.3.1\n")
    (about / "entry_points.txt").write_text("[ctseg]\nodd = ctseg_odd\n")
    (folder / "ctseg_odd.py").write_text(code)
    here = {name: value for name, value in os.environ.items() if name != "CTSEG_DISABLE_PLUGINS"}
    return here | {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def called(words: list[str], environment: dict[str, str], wait: float) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    call = [sys.executable, "-c", CALL.format(words=words, wait=wait)]
    return subprocess.run(call, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.mark.parametrize("left", LEFT)
def test_what_a_plugin_left_running_is_named_and_ended(left: str, tmp_path: Path) -> None:
    environment = installed(tmp_path, STARTS + LEFT[left])
    done = called(["plugins", "show", "nothing"], environment, 0.3)
    error, line = done.stderr.splitlines()
    assert (done.returncode, error.partition(";")[0]) == (2, "ctseg: error: unknown plugin 'nothing'")
    what = left.replace("DIR", tmp_path.name)
    assert line == f"warning: {what} still ran 0.3 s after the end, and was ended; its package is at fault"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_meanwhile_ends_it_at_once(number: signal.Signals, tmp_path: Path) -> None:
    code = f"import atexit, os\natexit.register(os.kill, os.getpid(), {int(number)})\n"
    done = called(["plugins"], installed(tmp_path, code), 600)
    assert (done.returncode, done.stderr) == (128 + number, "")


@pytest.mark.parametrize("how", PRINTS)
def test_results_are_alone_on_stdout(how: str, tmp_path: Path) -> None:
    done = called(["plugins", "--json"], installed(tmp_path, f"import os, threading\n{PRINTS[how]}"), 600)
    assert done.returncode == 0
    assert json.loads(done.stdout)["broken"] == []
    assert "odd" in done.stderr


def test_a_worker_with_a_thread_does_not_keep_the_others_waiting(capfd: pytest.CaptureFixture[str]) -> None:
    with closing(ordered_map(leave_a_thread, [1, 2, 3, 4], workers=2, start=end_soon)) as found:
        assert [result for _, result in found] == [1, 2, 3, 4]
    said = capfd.readouterr().err.splitlines()
    assert [re.sub(r" and \d more", "", line) for line in said] == [
        "warning: thread stays still ran 0.2 s after the end, and was ended; its package is at fault"
    ]
