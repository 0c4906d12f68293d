"""Ctrl-C and SIGTERM that come where Python cannot raise what their handlers raise: the command ends all the same."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

FINALIZER = """
class Released:
    def __del__(self):
        lose()
Released()
"""
WEAK = """
import weakref
class Released: pass
released = Released()
reference = weakref.ref(released, lambda _: lose())
del released
"""
CALLED_BY_C = """
import ctypes
ctypes.CFUNCTYPE(None)(lose)()
"""
CALL = """
import os, signal, sys, time
import ctseg.cli.main as cli
def lose():
    signal.raise_signal({number})
def command(*_words, **_settings):
{places}
    time.sleep(30)
    print("went on")
cli.build_app = command
sys.argv = ["ctseg", "plugins"]
cli.run()
"""


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
@pytest.mark.parametrize("place", [FINALIZER, WEAK, CALLED_BY_C, FINALIZER * 2], ids=["finalizer", "weak", "c", "two"])
def test_a_signal_in_a_place_that_raises_nothing_ends_the_command(
    place: str, number: signal.Signals, code: int, word: str
) -> None:
    indented = "".join(f"    {line}\n" for line in place.splitlines())
    words = [sys.executable, "-c", CALL.format(number=int(number), places=indented)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith(f"ctseg: error: {word};")


def test_other_exceptions_that_cannot_be_raised_are_printed_as_python_prints_them() -> None:
    lines = ["from ctseg.cli.signals import end_by_signals", "end_by_signals()", "class Released:",
             "    def __del__(self): raise ValueError('its own')", "Released()"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Exception ignored in" in done.stderr
    assert "ValueError: its own" in done.stderr
