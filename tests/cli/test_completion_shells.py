"""Completion in real shells on a pseudo terminal, where they are installed: Tab writes what it should."""

from __future__ import annotations

import os
import pty
import select
import shutil
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WAIT_S = 60.0


class Shell:
    """A shell on a pseudo terminal, with `ctseg` on its path and completion loaded."""

    def __init__(self, home: Path, name: str) -> None:
        (home / "bin").mkdir(parents=True)
        program = home / "bin" / "ctseg"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ctseg "$@"\n')
        program.chmod(0o755)
        environment = {
            "HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}", "TERM": "dumb", "LANG": "C.UTF-8",
            "CTSEG_DISABLE_PLUGINS": "1", "PS1": "$ ", "XDG_CONFIG_HOME": str(home / ".config"),
        }  # fmt: skip
        if "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        argv = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "-i"]}[
            name
        ]
        self.text = ""
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            os.execvpe(argv[0], argv, environment)  # noqa: S606 - a shell is what is tested

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, text: str, after: int) -> bool:
        """Whether `text` is written within the time, behind the first `after` letters."""
        end = time.monotonic() + WAIT_S
        while text not in self.text[after:] and time.monotonic() < end:
            ready, _, _ = select.select([self.terminal], [], [], 0.2)
            if ready:
                try:
                    self.text += os.read(self.terminal, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        return text in self.text[after:]

    def close(self) -> None:
        os.close(self.terminal)
        os.kill(self.child, 9)
        os.waitpid(self.child, 0)


LOAD = {
    "bash": 'eval "$(_CTSEG_COMPLETE=source_bash ctseg)"; echo rea""dy\n',
    "zsh": 'autoload -Uz compinit; compinit -u; eval "$(_CTSEG_COMPLETE=source_zsh ctseg)"; echo rea""dy\n',
    "fish": '_CTSEG_COMPLETE=source_fish ctseg | source; echo rea""dy\n',
}


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_tab_completes_a_preset(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"no {name}")
    shell = Shell(tmp_path, name)
    try:
        shell.type(LOAD[name])
        assert shell.wait_for("ready", 0), shell.text
        typed = len(shell.text)
        shell.type("ctseg das-train --preset rel\t")
        assert shell.wait_for("released", typed), shell.text
        typed = len(shell.text)
        shell.type("\x15ctseg insp\t")
        assert shell.wait_for("inspect", typed), shell.text
    finally:
        shell.close()
