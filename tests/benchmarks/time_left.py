"""How true the time left is that a command shows on a terminal: what it said, beside what was left.

`python tests/benchmarks/time_left.py ctseg preprocess SCANS -o OUT` runs the command on a terminal of its own.
It prints Markdown: of each bar or table, what it said after a quarter, a half and four fifths of its time, and how
long it took from there. With `--log` before the command there is no terminal: the lines of a log are read, of bars,
tables and the steps of a study.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time

SAID = re.compile(r"left +(?:\x1b\[[0-9;]*m)*(\d+):(\d\d):(\d\d)")
SAID_IN_LOG = re.compile(r"(?:about )?(?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s)? left(?: in all)?")
SHARES = (0.25, 0.5, 0.8)


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


def logged(command: list[str]) -> tuple[dict[str, list[tuple[float, float]]], float, int]:
    """What a log says of each title, or of the whole study: (seconds since the start, seconds left) up to its end."""
    started = time.monotonic()
    said: dict[str, list[tuple[float, float]]] = {}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        for line in process.stderr or ():
            at, title = time.monotonic() - started, line.split(":")[0]
            title = "the whole study" if "left in all" in line else title
            found = SAID_IN_LOG.search(line)
            if found and any(found.groups()):
                hours, minutes, seconds = (int(number or 0) for number in found.groups())
                said.setdefault(title, []).append((at, 3600.0 * hours + 60.0 * minutes + seconds))
            elif " done in " in line and title in said:
                said[title].append((at, 0.0))
                said[f"{title} until {at:.0f} s"] = said.pop(title)
        code = process.wait()
    seconds = time.monotonic() - started
    for title in said:
        if said[title][-1][1]:
            said[title].append((seconds, 0.0))
    return said, seconds, code


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


def main(words: list[str]) -> int:
    """Run and print the table."""
    if words[:1] == ["--log"]:
        by_name, seconds, code = logged(words[1:])
    else:
        said, seconds, code = watched(words)
        by_name = {str(number): part for number, part in enumerate(parts(said), start=1)}
    lines = ["| bar | at, s | said, s left | was, s left | ratio |", "|---|---|---|---|---|"]
    for name, part in by_name.items():
        first, end = part[0][0], part[-1][0]
        for share in SHARES:
            at, left = min(part, key=lambda item: abs(item[0] - first - share * (end - first)))
            if end - at >= 2:
                lines.append(f"| {name} | {at:.0f} | {left:.0f} | {end - at:.1f} | {left / (end - at):.2f} |")
    sys.stdout.write("\n".join(lines) + f"\n{seconds:.0f} s in all, exit code {code}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
