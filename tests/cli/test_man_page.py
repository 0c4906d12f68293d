"""The manual page names every command and option, and a formatter takes it without a word."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import typer

from ctseg.cli.main import build_app
from ctseg.cli.man_page import man_page


@pytest.fixture(scope="module")
def page() -> str:
    return man_page()


def test_every_command_and_option_is_there(page: str) -> None:
    plain = page.replace(r"\-", "-")
    root = typer.main.get_command(build_app(["segment"]))
    for name, command in root.commands.items():
        assert f'.SS "ctseg {name}"' in plain
        for parameter in command.params:
            if parameter.opts[0].startswith("-"):
                assert rf"\fB{parameter.opts[0]}\fR" in plain, (name, parameter.name)
    assert "find scans -name '*.nii.gz' -print0 | ctseg segment -0 -" in plain
    for heading in ("NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT"):
        assert f".SH {heading}\n" in page


def test_no_line_of_text_is_taken_for_a_request(page: str) -> None:
    known = re.compile(r"\.(TH|SH|SS|PP|TP|RS|RE|nf|fi|B)\b")
    assert [line for line in page.splitlines() if line.startswith((".", "'")) and not known.match(line)] == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_groff_has_nothing_to_say(page: str) -> None:
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "das-train" in done.stdout
