"""Help, flags anywhere, examples, completion: what every command has in common."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from ctseg.cli import common
from ctseg.cli.examples import EXAMPLES, HELP_FLAGS, examples, finish_help
from ctseg.cli.main import build_app, main
from ctseg.cli.words import globals_first


@pytest.fixture(autouse=True)
def _fresh_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "STATE", common.State(outside_plugins=False))


@pytest.fixture(scope="module")
def root() -> Any:
    command = typer.main.get_command(build_app(["segment"]))
    finish_help(command)
    return command


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}".strip())


def test_every_help_page_ends_with_two_examples(root: Any) -> None:
    for path, command in commands(root):
        assert path in EXAMPLES, path
        for line in EXAMPLES[path]:
            assert f"  {line}" in command.epilog, path
    assert EXAMPLES.keys() == {path for path, _ in commands(root)}


@pytest.mark.parametrize("line", [line for pair in EXAMPLES.values() for line in pair])
def test_an_example_parses(root: Any, line: str) -> None:
    words = shlex.split(line.rpartition(" | ")[2])
    place = words.index("ctseg")
    command, rest = root, words[place + 1 :]
    context = root.make_context("ctseg", list(rest))
    while getattr(command, "commands", {}).get(rest[0] if rest else ""):
        name, command, rest = rest[0], command.commands[rest[0]], rest[1:]
        context = command.make_context(name, list(rest), parent=context)


WITHOUT_VALUES = {
    "--slices", "--window", "--lesion-labels", "--scheduler", "--participant-label", "--images", "--model", "inputs",
    "more_labels", "name",
}  # fmt: skip
"""Text that no list holds: numbers, addresses, names of patients and files; `--split` of preprocess is shares."""


def test_every_text_with_known_values_completes(root: Any) -> None:
    lacking = set()
    for path, command in commands(root):
        for parameter in command.params:
            annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
            if annotation not in (str, list[str]) or getattr(parameter, "is_flag", False):
                continue
            if parameter._custom_shell_complete is None:
                lacking.add((path, parameter.opts[0]))
    known = {
        (path, name) for path, name in lacking if name in WITHOUT_VALUES or (path, name) == ("preprocess", "--split")
    }
    assert lacking - known == set()


def test_flags_show_no_type(root: Any) -> None:
    flags = [
        parameter for _, command in commands(root) for parameter in command.params if getattr(parameter, "is_flag", 0)
    ]
    assert len(flags) > 20
    assert {parameter.metavar for parameter in flags} == {""}


def test_values_have_plain_words(root: Any) -> None:
    """No `<list[str]>` of Python, and nothing in brackets that the help's markup would take for a colour."""
    for path, command in commands(root):
        context = command.make_context("ctseg", ["x"] * 9, resilient_parsing=True)
        pages = [command.get_usage(context), command.help or ""]
        for parameter in command.params:
            show = getattr(parameter, "display_type_rich", None) or parameter.make_metavar  # versions of typer differ
            shown = show(ctx=context) or ""
            pages.append(getattr(parameter, "help", None) or "")
            assert not re.search(r"str|int|float|Path|list", shown.replace("intraparenchymal", "")), (path, shown)
        assert not [page for page in pages[1:] if re.search(r"(?<!\\)\[/?[a-z#@][^\]]*\]", page)], path
        assert "...}" not in pages[0]


def test_a_command_of_a_plugin_brings_its_examples() -> None:
    app = typer.Typer(context_settings={"help_option_names": HELP_FLAGS})
    app.command("one", epilog=examples("ctseg one a", "ctseg one b"))(lambda: None)
    app.command("two")(lambda: None)
    command = typer.main.get_command(app)
    finish_help(command)
    finish_help(command)
    assert command.commands["one"].epilog == "Examples:\n\n  ctseg one a\n\n  ctseg one b"


def test_help_is_short_and_has_h(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["match", "-h"]) == 0
    short = capsys.readouterr().out
    assert main(["match", "--help"]) == 0
    assert capsys.readouterr().out == short
    assert "<bool>" not in short
    assert short.rstrip().endswith("ctseg match --src sets/mr --tgt sets/ct --direction target -o pairs-stage2.csv")
    assert HELP_FLAGS == ["-h", "--help"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["match", "-q", "--top", "3"], ["--quiet", "match", "--top", "3"]),
        (["match", "--top", "3", "-v", "--no-plugins"], ["--verbose", "--no-plugins", "match", "--top", "3"]),
        (["-q", "match", "--quiet"], ["--quiet", "match"]),
        (["preprocess", "--select", "-q", "raw"], ["preprocess", "--select", "-q", "raw"]),
        (["segment", "--", "-q"], ["segment", "--", "-q"]),
        (["plugins", "show", "amd", "-q"], ["--quiet", "plugins", "show", "amd"]),
        (["segment", "-0", "-", "-q"], ["--quiet", "segment", "-0", "-"]),
    ],
)
def test_global_flags_come_anywhere(root: Any, argv: list[str], expected: list[str]) -> None:
    assert globals_first(root, argv) == expected


def test_quiet_and_verbose_do_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "match", "-v"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("ctseg ")
    assert " GB of memory" in err
    assert main(["settings", "das-train", "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert not common.STATE.quiet


def test_quiet_leaves_the_cases_that_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctseg.cli.case_rows import CaseRows
    from ctseg.inference.results import CaseResult

    monkeypatch.setattr(common, "STATE", common.State(quiet=True))
    common.finish({}, ["patients from names", "FAILED a: broken", "1 of 2 scans -> x"], as_json=False)
    assert capsys.readouterr().err == "FAILED a: broken\n"
    with CaseRows(["a", "b"]) as rows:
        rows.add(CaseResult("a", "failed", error="a.dcm: cut short; copy it again"))
        rows.add(CaseResult("b", "ok", ml=1.0, lesions=1))
    assert capsys.readouterr().err == "FAILED a: a.dcm: cut short; copy it again\n"
    with CaseRows(["a"], as_json=True) as rows:
        rows.add(CaseResult("a", "failed", error="cut short"))
    out, err = capsys.readouterr()
    assert '"error": "cut short"' in out
    assert err == ""


def test_quiet_leaves_out_the_warnings_of_a_training(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    def warns(*_: object) -> list[str]:
        logging.getLogger("ctseg").warning("epoch 1: inversion")
        return []

    monkeypatch.setattr("ctseg.cli.command_settings.groups_of", warns)
    assert main(["-q", "settings", "match"]) == 0
    assert caplog.messages == []
    assert main(["settings", "match"]) == 0
    assert caplog.messages == ["epoch 1: inversion"]


def completed(words: str) -> set[str]:
    parts = words.split(" ")
    environment = {
        **os.environ, "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1), "_CTSEG_COMPLETE": "complete_bash",
        "CTSEG_DISABLE_PLUGINS": "1",
    }  # fmt: skip
    code = (
        "import atexit, sys; sys.argv = ['ctseg']; atexit.register(lambda: print('heavy' * ('numpy' in sys.modules)));"
        "from ctseg.cli.main import main; main([])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ctseg das-train --preset p", {"paper", "plus"}),
        ("ctseg match --similarity ah", {"ahash"}),
        ("ctseg segment --device cp", {"cpu"}),
        ("ctseg preprocess --domain ", {"auto", "mr", "ct"}),
        ("ctseg preprocess --select intrap", {"intraparenchymal"}),
        ("ctseg das-train --set lambda_adv", {"lambda_adv=", "lambda_adv_output="}),
        ("ctseg das-train --segmenter unet --set segmenter_settings.de", {"segmenter_settings.depth="}),
        ("ctseg settings da", {"das-train"}),
        ("ctseg settings match --plugin wh", {"whash"}),
        ("ctseg plugins show mus", {"muschelli"}),
        ("ctseg insp", {"inspect"}),
        ("ctseg match --split t", {"train", "test"}),
        ("ctseg config das", {"das-train"}),
        ("ctseg plugins new mine --kind b", {"brain_extractor"}),
    ],
)
def test_values_are_completed_without_heavy_imports(words: str, expected: set[str]) -> None:
    assert completed(words) == expected
