"""The code blocks of a Markdown page, and a reader who does what they say in a folder of small files."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
OTHER_OUTPUT = re.compile(r"<!-- other output: (.+) -->")
RUN = ("console", "sh", "bash", "python")
TRAININGS = ("synth-train", "das-train", "finetune")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    path: str = ""
    """The file that it is, where a line with its path stands above it."""
    not_run: str = ""
    """Why it is not run."""
    other_output: str = ""
    """Why it is run, but shows what another run printed."""


def blocks(page: Path, name: str) -> list[Block]:
    """The fenced blocks of a page in order."""
    found, above, lines = list[Block](), "", page.read_text(encoding="utf-8").splitlines()
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.startswith("```"):
            end = next(at for at in range(place + 1, len(lines)) if lines[at].startswith("```"))
            text = "\n".join(lines[place + 1 : end]) + "\n"
            is_path = re.fullmatch(r"`([\w./~-]+)`", above)
            marks = [mark.fullmatch(above) for mark in (NOT_RUN, OTHER_OUTPUT)]
            reasons = [mark[1] if mark else "" for mark in marks]
            found.append(Block(name, place + 1, line[3:], text, is_path[1] if is_path else "", *reasons))
            place, above = end, ""
        else:
            above = line.strip() or above
        place += 1
    return found


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command with the lines that are shown below it."""
    prompt = "$ " if block.language == "console" else ""
    command, shown = "", list[str]()
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith(prompt) if prompt else line.strip():
            if command:
                yield command, shown
            command, shown = line.removeprefix(prompt), []
        elif line.strip():
            shown.append(line)
    if command:
        yield command, shown


def plain(text: str) -> str:
    """A text without what differs between two runs: names of cases, times, numbers, line ends."""
    text = re.sub(r"\bP[0-9a-f]{10}_[0-9a-f]{6}\b", "CASE", " ".join(text.split()))
    text = re.sub(r"\bID_[0-9a-f]{9}\b", "SLICE", text)
    text = re.sub(r"\b\d+ (?:h|min|s)\b(?: \d+ (?:min|s)\b)?", "TIME", text)
    return re.sub(r"-?\d+(?:,\d{3}\b)*(?:\.\d+)?(?:e-\d+)?", "#", text)


@dataclass
class Reader:
    """Follows the blocks of a page in a folder; what a command reads comes from a finished study."""

    folder: Path
    study: Path
    read: Callable[[], str]
    """What was printed since the last time."""
    environment: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    """What the pages call a file or folder -> its path in the study."""
    arguments: dict[str, str] = field(default_factory=dict)
    """Command -> what `...` stands for."""
    names: dict[str, Any] = field(default_factory=dict)
    """What Python blocks find."""

    def follow(self, block: Block) -> None:
        if block.language == "python":
            exec(compile(block.text, f"{block.page}:{block.line}", "exec"), dict(self.names))  # noqa: S102 - ours
            return
        if block.path:
            path = self.folder / block.path.replace("~", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(small(block.text), encoding="utf-8")
            for word in re.findall(r'= "([\w/.]+)"', block.text):
                self.link(Path(word))
            return
        if block.language in ("sh", "bash") and not re.fullmatch(r"(?:(?:ctseg |#).*\n|\n)+", block.text):
            for word in set(re.findall(r"[\w./-]+", block.text)) - set(re.findall(r"-o (\S+)", block.text)):
                self.link(Path(word))
            self.bash(block.text)
            return
        for command, shown in commands(block):
            output = self.call(small(command), any(line.startswith("ctseg: error") for line in shown))
            if not block.other_output:
                where = f"{block.page}:{block.line}: {command}\n{output}"
                assert [line for line in shown if not self.is_printed(line, output)] == [], where

    def is_printed(self, line: str, output: str) -> bool:
        """Whether a line of the page is in the output; lines about one case of the cohort are not looked for."""
        wanted = plain(line)
        return wanted == "..." or "CASE" in wanted or wanted in plain(output)

    def call(self, command: str, refused: bool) -> str:
        """Output of one command, which has to succeed unless the page shows that it is refused."""
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            self.environment.update([words[1].split("=", 1)])
            os.environ.update(self.environment)
            return ""
        if words[0] == "cd":
            Path(words[1]).mkdir(exist_ok=True)
            os.chdir(words[1])
            return ""
        self.prepare(words)
        if words[0] == "ctseg" and "|" not in words:
            return self.ctseg(self.filled(words[1:]), refused)
        assert words[0] in ("cat", "cut", "head", "ls", "jq", "find", "sed", "ctseg"), command
        return self.bash(command)

    def bash(self, command: str) -> str:
        """Output of what only a shell can do; it has to succeed."""
        script = self.folder / ".bin" / "ctseg"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ctseg "$@"\n')
        script.chmod(0o755)
        place = {**os.environ, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env=place, timeout=300,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def ctseg(self, argv: list[str], refused: bool) -> str:
        from ctseg.cli import common
        from ctseg.cli.main import main

        common.STATE = common.State()
        output = self.output_of(argv)
        if not refused and output and not {"--resume", "--overwrite", "run"} & set(argv):
            remove(output)
        self.read()
        code = main(argv)
        printed = self.read()
        assert code == (2 if refused else 0), f"ctseg {shlex.join(argv)}\n{printed}"
        return printed

    def output_of(self, argv: list[str]) -> Path | None:
        flag = next((flag for flag in ("-o", "--output") if flag in argv), "")
        if flag:
            return Path(argv[argv.index(flag) + 1])
        return Path("segmentation") if argv[0] == "segment" else None

    def filled(self, argv: list[str]) -> list[str]:
        """A call with `...` replaced, at the sizes of the study."""
        if "..." in argv:
            place = argv.index("...")
            argv[place : place + 1] = shlex.split(self.arguments[argv[0]])
        if argv[0] in TRAININGS and "--preset" not in argv and "--resume" not in argv:
            argv += ["--preset", "smoke"]
        if argv[0] == "preprocess" and "--size" not in argv:
            argv += ["--size", "48"]
        return argv

    def prepare(self, words: list[str]) -> None:
        """Put what a command reads where it looks for it."""
        skipped = {words.index(flag) + 1 for flag in ("-o", "--output") if flag in words}
        for place, word in enumerate(words[1:], 1):
            if place not in skipped and not word.startswith("-"):
                self.link(Path(word))

    def link(self, path: Path) -> None:
        if path.is_absolute() or not path.parts or os.path.lexists(path):
            return
        source = self.study / self.aliases.get(str(path), str(path))
        if "phantom" in path.parts:
            path = Path(*path.parts[: path.parts.index("phantom") + 1])
            source = self.study / "phantom"
        if source.exists() and not os.path.lexists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(source.resolve())


def remove(path: Path) -> None:
    """Take away what an earlier block of the page left."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.with_name(f".{path.name}.ctseg.json").unlink(missing_ok=True)


SMALLER = (
    (r"--slices (?:60:100|25:135)", "--slices 14:26 --split 0.5:0.5"),
    (r'slices = "60:100"', 'slices = "14:26"'),
    (r"--size 96", "--size 48"),
    (r"size = 96", "size = 48"),
    (r"--preset demo", "--preset smoke"),
    (r" --set (?:steps_per_epoch|epochs|decay_epochs)=\d+", ""),
    (r"--device cuda", "--device cpu"),
    (r"--workers [1-9]", "--workers 0"),
    (r"--mr 3 --ct 6 --ct-test 3", "--mr 1 --ct 1 --ct-test 1 --set mr_slices=40 --set ct_slice_step_mm=12"),
    (r"ct_matrix=192", "ct_matrix=96"),
)
"""Sizes of the pages -> sizes of the study, which takes seconds."""


def small(text: str) -> str:
    for old, new in SMALLER:
        text = re.sub(old, new, text)
    return text
