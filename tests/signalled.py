"""Commands that get a signal in the middle of what they write, and what they leave."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import signal
from pathlib import Path

from children import in_child

import ctseg.files
from ctseg.cli.main import main
from ctseg.cli.signals import terminate
from ctseg.outputs import MARK
from ctseg.outputs.changed import look

SIGNALS = ((signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted"), (signal.SIGKILL, -9, ""))
"""A signal, how a command ends by it, and the first word of its line."""
UNREACHED = 77
TIMED = (".html", ".ts", ".state.json")
"""Files that differ between calls that do the same."""
SECONDS = re.compile(rb'("[a-z_]*seconds[a-z_]*": )[-0-9.e+]+')


def without_seconds(path: Path) -> bytes:
    """What a file holds, but for how long something took, and when a DICOM object was made."""
    data = path.read_bytes()
    if path.name.endswith(MARK):
        mark = json.loads(data)
        if "scans" in mark["inputs"]:
            mark["inputs"]["scans"] = None  # what a segmentation remembers of them depends on its own path
        mark["made"] = {name: "" if name.endswith(TIMED) else seen for name, seen in mark["made"].items()}
        return json.dumps({**mark, "files": sorted(mark["files"])}, sort_keys=True).encode()
    if path.suffix == ".dcm":
        return look(path).encode()  # it says when it was made
    if path.suffix in (".json", ".jsonl"):
        return SECONDS.sub(rb"\1", data)
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        return repr([{key: value for key, value in row.items() if key != "seconds"} for row in rows]).encode()
    return data


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, and a digest of those that do not say when they were made."""
    return {
        path.relative_to(folder).as_posix(): ""
        if path.name.endswith(TIMED)
        else hashlib.sha256(without_seconds(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stopped_at(argv: list[str], number: int, count: int) -> tuple[int, str]:
    """Exit code and stderr of a command in a process of its own, which gets a signal at its n-th whole file.

    The code is `UNREACHED` where the command writes fewer.
    """

    def work() -> int:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        left = _signal_at(number, count)
        code = main(argv)
        return UNREACHED if left[0] > 0 and code == 0 else code

    return in_child(work)


def _signal_at(number: int, count: int) -> list[int]:
    """Have this process send itself a signal when it has written so many files; gives how many are left."""
    whole, left = ctseg.files.sync, [count]

    def sync(path: Path) -> None:
        left[0] -= path.is_file()
        if left[0] == 0:
            left[0] = -1
            os.kill(os.getpid(), number)
        whole(path)

    ctseg.files.sync = sync
    return left


def said_once(err: str, word: str) -> bool:
    """Whether stderr is the one line of a command that a signal ended."""
    [line] = err.splitlines() or [""]
    return line.startswith(f"ctseg: error: {word}; nothing half-written was left")


def leftovers(folder: Path) -> list[str]:
    """What killed runs leave."""
    return [
        path.name for path in folder.rglob("*") if path.name.startswith((".partial-", ".ctseg-lock-", ".replaced-"))
    ]
