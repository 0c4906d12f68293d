"""A call with `--share` that is stopped or killed at every step on the disk, and another that does the rest.

`python tests/benchmarks/share_moments.py "segment --share" --ways asleep elsewhere killed` takes each step at which a
call opens, moves, links, makes or removes a file of its output in turn. `asleep`: it is stopped there (SIGSTOP) for
longer than its claims live, another call does all the rest, then it goes on. `elsewhere`: it is killed, and the other
call is on another machine, which sees no locks of it. `killed`: it is killed, and the other is on the same machine.
All must end with the files of an undisturbed call, with nothing left over, and with inputs unchanged.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cli")]
from children import in_child
from signalled import leftovers, tree
from sweep import OBJECTS, say, sweep
from test_signals import COMMANDS as SHORT
from test_signals import ONE, words

from ctseg.cli.main import main
from ctseg.outputs import claims

COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    **{name: SHORT[name] for name in ("preprocess --share", "segment --share")},
    "segment --share, all files": (
        ["segment", "scans", "--model", "seg", *ONE, "--share", "--probabilities", "--other-blood"], [],
    ),
    "segment --share, objects": ([*OBJECTS, "--share"], []),
}  # fmt: skip
WAYS = ("asleep", "elsewhere", "killed")
LIFE_S = 0.5
"""Of a claim, in these calls."""


def hurried() -> None:
    """Let claims live shortly; a call that is at work alone loses none of its own."""
    claims.TOUCH_SECONDS, claims.POLL_SECONDS = 0.1, 0.02
    claims.Claims.__init__.__kwdefaults__["lease"] = LIFE_S


def on_steps(folder: Path, reached: Callable[[str, Any], None]) -> None:
    """Call `reached` before and after each step in this process that changes something below a folder."""
    below = os.path.realpath(folder) + os.sep

    def ours(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(below)  # noqa: PTH100

    def stepping(name: str, act: Callable[..., Any], changes: Callable[..., bool]) -> Callable[..., Any]:
        def step(path: Any, *more: Any, **named: Any) -> Any:
            if not ours(path) or not changes(*more, **named):
                return act(path, *more, **named)
            reached(f"before {name}", path)
            result = act(path, *more, **named)
            reached(f"after {name}", path)
            return result

        return step

    for name in ("link", "replace", "rename", "unlink", "remove", "mkdir", "rmdir"):
        setattr(os, name, stepping(name, getattr(os, name), lambda *_, **__: True))
    os.open = stepping("open", os.open, lambda flags=0, *_, **__: bool(flags & (os.O_WRONLY | os.O_RDWR)))
    io.open = builtins.open = stepping(
        "open", builtins.open, lambda mode="r", *_, **__: isinstance(mode, str) and bool(set(mode) & set("wax+"))
    )


def begun(argv: list[str], folder: Path, number: int, moment: int, counted: Path) -> tuple[int, int]:
    """A call in a process of its own, which gets a signal at a step; its process and its status once it is stopped."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            handle = os.open(counted.with_suffix(".said"), os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(handle, 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            passed: list[str] = []

            def reached(what: str, path: Any) -> None:
                passed.append(f"{what} {os.path.relpath(path, folder)}")
                if len(passed) == moment:
                    os.kill(os.getpid(), number)

            on_steps(folder, reached)
            code = main(argv)
            counted.write_text("\n".join(passed))
            sys.stderr.flush()
        finally:
            os._exit(code)
    return child, os.waitpid(child, os.WUNTRACED)[1]


def tried(name: str, folder: Path, way: str, moment: int, expected: dict[str, str]) -> Iterator[str]:
    """Stop a call at a step, have another do the rest, let the first go on; say what is not as it should be."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before, counted = tree(Path.cwd()), folder.with_suffix(".moments")
    number = signal.SIGSTOP if way == "asleep" else signal.SIGKILL
    argv = words(name, folder, COMMANDS)
    child, status = begun(argv, folder, number, moment, counted)
    if not (os.WIFSTOPPED(status) or os.WIFSIGNALED(status)):
        yield f"was not stopped: status {status}"

    def other() -> int:
        if way == "elsewhere":
            claims.machine = lambda: "elsewhere"
        return main(argv)

    try:
        code, err = in_child(other)
        if code != 0:
            yield f"the other call ends with {code}: {err[-300:]}"
        yield from differences(folder, expected, "after the other call", asleep=way == "asleep")
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGCONT)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = counted.with_suffix(".said").read_text()
        if code != 0:
            yield f"the call that was stopped ends with {code}: {said[-300:]}"
        yield from differences(folder, expected, "at last")
    if tree(Path.cwd()) != before:
        yield "inputs changed"


FAULTS = {
    "read-only": (errno.EROFS, True), "full": (errno.ENOSPC, True), "quota": (errno.EDQUOT, True),
    "error": (errno.EIO, True), "error once": (errno.EIO, False),
    "stale": (errno.ESTALE, True), "stale once": (errno.ESTALE, False),
}  # fmt: skip
"""Name -> what the disk says from a step on, and whether it goes on saying so."""


def refused(name: str, folder: Path, way: str, moment: int, expected: dict[str, str]) -> Iterator[str]:
    """Have the disk refuse a step, and each one after it; then the same call; say what is not as it should be."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before, (number, for_ever) = tree(Path.cwd()), FAULTS[way]
    argv, passed = words(name, folder, COMMANDS), [0]

    def reached(what: str, path: Any) -> None:
        passed[0] += 1
        if passed[0] == moment or (for_ever and passed[0] > moment and what.startswith("before")):
            raise OSError(number, os.strerror(number), os.fspath(path))

    def work() -> int:
        on_steps(folder, reached)
        return main(argv)

    code, err = in_child(work)
    lines = err.splitlines()
    if code not in (0, 2):
        yield f"ends with {code}: {err[-1000:]}"
    if len(lines) != (code != 0) or not all(str(folder / "out") in line for line in lines):
        yield f"ends with {code} and says {err[-600:]!r}"
    if code == 0:
        yield from differences(folder, expected, "although it ended well", asleep=True)
    done = {path.name for path in folder.glob(".ctseg-share-out/done/[!.]*")}
    if code == 2 and moment > 60 and not done and not (folder / "out" / ".ctseg.json").exists():
        yield f"lost all that was done, and said {err!r}"
    code, err = in_child(lambda: main(argv))
    if code != 0:
        yield f"the same call ends with {code}: {err[-300:]}"
    yield from differences(folder, expected, "at last")
    if tree(Path.cwd()) != before:
        yield "inputs changed"


def differences(folder: Path, expected: dict[str, str], when: str, *, asleep: bool = False) -> Iterator[str]:
    """What is not as after an undisturbed call; a stopped process keeps its locked lock and unfinished files."""
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")] + leftovers(folder)
    if asleep:
        left = [one for one in left if not one.startswith((".ctseg-lock-", ".partial-"))]
        whole = folder.with_name("whole")
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(folder, whole, ignore=shutil.ignore_patterns(".ctseg-[ls]*", ".partial-*"))
        found = tree(whole)
    else:
        found = tree(folder)
    if found != expected:
        yield f"{when} other files: {sorted(key for key in expected | found if expected.get(key) != found.get(key))}"
    if left:
        yield f"{when} left {left}"


def measured(name: str, ways: list[str], place: Path, every: int) -> tuple[int, int]:
    """How many times a call was stopped, and how often all was as it should be."""
    folder, counted = place / "undisturbed", place / "moments"
    folder.mkdir()
    child, status = begun(words(name, folder, COMMANDS), folder, 0, -1, counted)
    assert child
    assert os.waitstatus_to_exitcode(status) == 0, counted.with_suffix(".said").read_text()
    expected, moments = tree(folder), counted.read_text().splitlines()
    done = whole = 0
    for way in ways:
        for moment in range(1, len(moments) + 1, every):
            if way in FAULTS and moments[moment - 1].startswith("after"):
                continue
            wrong = list((refused if way in FAULTS else tried)(name, place / "call", way, moment, expected))
            done, whole = done + 1, whole + (not wrong)
            for line in wrong:
                say(f"{name}, {way} at step {moment} of {len(moments)} ({moments[moment - 1]}): {line}")
    return done, whole


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(COMMANDS), help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=[*WAYS, *FAULTS])
    parser.add_argument("--every", type=int, default=1, help="take each n-th step alone")
    given = parser.parse_args()
    hurried()
    return sweep(given.names, lambda name, place: measured(name, given.ways, place, given.every))


if __name__ == "__main__":
    sys.exit(run())
