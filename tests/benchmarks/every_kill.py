"""A signal at every whole file and right after every move of a command, then the same call again.

`python tests/benchmarks/every_kill.py evaluate bids` (all of `COMMANDS` without names) stops small calls by SIGKILL
before and after each move into place, and by SIGTERM and SIGINT in turn; each is then called again, with `--resume`
where there is one. `--every 5` takes each fifth of these moments. It prints how many ended as they should: files of an
undisturbed call, nothing left over, inputs unchanged. `tests/cli/test_signals.py` stops more commands at fewer moments.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cli")]
from children import in_child
from signalled import SIGNALS, leftovers, said_once, tree
from sweep import OBJECTS, say, sweep
from test_signals import COMMANDS as SHORT
from test_signals import ONE, words

import ctseg.files
from ctseg.cli.main import main
from ctseg.cli.signals import terminate

IMPLANT = [
    "implant", "scans", "--model", "seg", "--places", "1", "--ml", "5", "--hu", "60", "--oedema-mm", "0",
    "--device", "cpu",
]  # fmt: skip
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    **{name: SHORT[name] for name in ("evaluate", "bids", "finetune", "phantom", "segment --share")},
    "synthesize nifti": SHORT["synthesize nifti"],
    "phantom, two workers": ([*SHORT["phantom"][0][:-1], "2"], []),
    "implant": (IMPLANT, []),
    "segment": (["segment", "scans", "--model", "seg", *ONE, "--probabilities"], ["--resume"]),
    "segment, objects": (OBJECTS, ["--resume"]),
    "segment --share, objects": ([*OBJECTS, "--share"], []),
    "segment --share, other blood": (["segment", "scans", "--model", "seg", *ONE, "--other-blood", "--share"], []),
}
"""Command -> its words, and what is added when it is called again; OUT is its output, which else comes behind `-o`."""
MOVES = ("replace", "rename", "link")


def stopped(argv: list[str], number: int, moment: int, counted: Path) -> tuple[int, str]:
    """Exit code and stderr of a command that gets a signal at a moment; how many it had is written to a file."""

    def work() -> int:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        passed: list[str] = []

        def pass_by(what: str) -> None:
            passed.append(what)
            if len(passed) == moment:
                os.kill(os.getpid(), number)

        _watch(pass_by)
        code = main(argv)
        counted.write_text("\n".join(passed))
        return code

    return in_child(work)


def _watch(pass_by) -> None:
    """Call `pass_by` before each whole file is flushed, and right after each file or folder is moved."""
    whole = ctseg.files.sync

    def sync(path: Path) -> None:
        if path.is_file():
            pass_by(f"before {path.name}")
        whole(path)

    ctseg.files.sync = sync
    for name in MOVES:
        setattr(os, name, _then(getattr(os, name), pass_by))


def _then(move, pass_by):
    def moved(source, target, **more):
        move(source, target, **more)
        pass_by(f"after {Path(target).name}")

    return moved


def tried(name: str, folder: Path, number: int, moment: int, expected: dict[str, str]) -> Iterator[str]:
    """Stop a command, call it again, and say what is not as it should be."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before, counted = tree(Path.cwd()), folder.with_suffix(".moments")
    counted.unlink(missing_ok=True)
    code, err = stopped(words(name, folder, COMMANDS), number, moment, counted)
    wanted, word = next((code, word) for known, code, word in SIGNALS if known == number)
    if code != wanted:
        yield f"exit code {code}, not {wanted}: {err[-300:]}"
    if word and not said_once(err, word):
        yield f"stderr {err[-300:]!r}"
    if word and leftovers(folder):
        yield f"left {leftovers(folder)}"
    again, err = in_child(lambda: main([*words(name, folder, COMMANDS), *COMMANDS[name][1]]))
    is_whole = again == 2 and "exists already" in err  # the signal came behind the last thing that there was to do
    if again != 0 and not is_whole:
        yield f"the same call ends with {again}: {err[-300:]}"
    found = tree(folder)
    if found != expected:
        yield f"other files: {sorted(key for key in expected | found if expected.get(key) != found.get(key))}"
    if leftovers(folder):
        yield f"left at last {leftovers(folder)}"
    if tree(Path.cwd()) != before:
        yield "inputs changed"


def signals(place: int) -> tuple[int, int]:
    """SIGKILL, and one of the two others."""
    return signal.SIGKILL, (signal.SIGTERM, signal.SIGINT)[place % 2]


def measured(name: str, place: Path, every: int) -> tuple[int, int]:
    """How many kills of a command there were, and how many ended as they should."""
    folder, counted = place / "undisturbed", place / "moments"
    folder.mkdir()
    code, err = stopped(words(name, folder, COMMANDS), 0, -1, counted)
    assert code == 0, err
    expected, moments = tree(folder), counted.read_text().splitlines()
    done = whole = 0
    for turn, moment in enumerate(range(1, len(moments) + 1, every)):
        for number in signals(turn):
            wrong = list(tried(name, place / "call", number, moment, expected))
            done, whole = done + 1, whole + (not wrong)
            for line in wrong:
                say(f"{name}, moment {moment} ({moments[moment - 1]}), signal {number}: {line}")
    say(f"{name}: each {every} of {len(moments)} moments")
    return done, whole


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(COMMANDS), help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--every", type=int, default=1, help="take each n-th moment alone")
    given = parser.parse_args()
    return sweep(given.names, lambda name, place: measured(name, place, given.every))


if __name__ == "__main__":
    sys.exit(run())
