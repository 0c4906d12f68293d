"""How true the time left is that a command shows on a terminal: what it said, beside what was left.

`python tests/benchmarks/time_left.py ctseg preprocess SCANS -o OUT` runs the command on a terminal of its own.
It prints Markdown: of each bar or table, what it said after a fifth, a half and four fifths of its time, and how long
it took from there.
"""

from __future__ import annotations

import os
import pty
import re
import sys
import time

SAID = re.compile(r"left +(?:\x1b\[[0-9;]*m)*(\d+):(\d\d):(\d\d)")
SHARES = (0.2, 0.5, 0.8)


def watched(command: list[str]) -> tuple[list[tuple[float, float]], float, int]:
    """(seconds since the start, seconds left as shown) of every change, seconds in all, and the exit code."""
    started = time.monotonic()
    process, terminal = pty.fork()
    if not process:
        os.environ.update(COLUMNS="200", LINES="50", TERM="xterm")
        os.execvp(command[0], command)  # noqa: S606 - the command line that was given
    said: list[tuple[float, float]] = []
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # the terminal is closed
            break
        if not data:
            break
        for hours, minutes, seconds in SAID.findall(data.decode(errors="replace")):
            said.append((time.monotonic() - started, 3600 * int(hours) + 60 * int(minutes) + int(seconds)))
    _, status = os.waitpid(process, 0)
    return said, time.monotonic() - started, os.waitstatus_to_exitcode(status)


def parts(said: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """What was said, bar by bar: each ends with a 0."""
    found: list[list[tuple[float, float]]] = [[]]
    for at, left in said:
        if left == 0:
            if found[-1]:
                found[-1].append((at, left))
                found.append([])
        else:
            found[-1].append((at, left))
    return [part for part in found if part]


def main(command: list[str]) -> int:
    """Run and print the table."""
    said, seconds, code = watched(command)
    lines = ["| bar | at, s | said, s left | was, s left | ratio |", "|---|---|---|---|---|"]
    for number, part in enumerate(parts(said), start=1):
        first, end = part[0][0], part[-1][0]
        for share in SHARES:
            at, left = min(part, key=lambda item: abs(item[0] - first - share * (end - first)))
            if end - at >= 2:
                lines.append(f"| {number} | {at:.0f} | {left:.0f} | {end - at:.1f} | {left / (end - at):.2f} |")
    sys.stdout.write("\n".join(lines) + f"\n{seconds:.0f} s in all, exit code {code}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
