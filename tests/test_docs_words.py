"""The documentation uses the field's words, the names of today, and lines of at most 120 characters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ctseg.cli.main import build_app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

HOUSE_WORDS = (
    r"mended", r"laid", r"told", r"held(?!-out)", r"made up", r"anew", r"lessons?", r"silent(?:ly)?", r"outlined",
    r"judge[sd]?", r"stands", r"ways", r"recipes?", r"strangers?",
)  # fmt: skip
"""Words of this project that a reader from the field would have to look up; `docs/glossary.md` has the field's."""

OLD_NAMES = (
    r"steady", r"haematomas(?==)", r"look[-_]alikes?", r"lambda_teacher", r"teacher_(?:decay|certainty|contrast)",
    r"hidden_(?:share|patch)", r"turn_deg", r"freeze_norm_from", r"refresh_norm", r"unlike", r"straight", r"--brains",
    r"--metric", r"adaptation\.\w+", r"ctseg\.testing", r"training_settings",
)  # fmt: skip
"""Settings, flags, columns and modules that have another name now."""

ALLOWED = {
    "docs/changelog.md": ("- Renamed",),
    "docs/formats-scans.md": ("orientation, matrix or spacing unlike the",),
}
"""Page to the beginnings of list entries, or parts of lines, that may have one of these words."""

WORDS = re.compile(rf"(?<![\w-])(?:{'|'.join((*HOUSE_WORDS, *OLD_NAMES))})(?![\w-])", re.IGNORECASE)
LONGEST = 120


def house_words(text: str) -> list[str]:
    """Every house word and old name in a text."""
    return WORDS.findall(text)


def paragraphs(text: str) -> Iterator[str]:
    """Lines of a page, where a list entry is one with its further lines."""
    return (part.replace("\n", " ") for part in re.split(r"\n(?! {2}\S)", text))


def help_texts(command: Any, path: str) -> Iterator[tuple[str, str]]:
    """(command, text) of a command's help, its options' and its subcommands'."""
    yield path, f"{command.help or ''} {command.epilog or ''}"
    for parameter in command.params:
        yield f"{path} {parameter.opts[0]}", getattr(parameter, "help", None) or ""
    for name, below in getattr(command, "commands", {}).items():
        yield from help_texts(below, f"{path} {name}")


def prose(text: str) -> Iterator[str]:
    """Lines outside code blocks and tables, which Markdown cannot wrap."""
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("|"):
            yield line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_has_no_house_word(page: Path) -> None:
    allowed = ALLOWED.get(page.relative_to(ROOT).as_posix(), ())
    found = [
        (word, part)
        for part in paragraphs(page.read_text(encoding="utf-8"))
        if not any(exception in part for exception in allowed)
        for word in house_words(part)
    ]
    assert found == []


def test_no_help_text_has_a_house_word() -> None:
    app = typer.main.get_command(build_app(["segment"]))
    texts = list(help_texts(app, "ctseg"))
    assert len(texts) > 100
    assert [(where, word) for where, text in texts for word in house_words(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_line_of_prose_is_short(page: Path) -> None:
    assert [line for line in prose(page.read_text(encoding="utf-8")) if len(line) > LONGEST] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("batch norm is held and Told", ["held", "Told"]),
        ("held-out patients, always, a held_out set", []),
        ("`--metric amd`, but not --metrics", ["--metric"]),
        ("haematomas are large; --set haematomas=1", ["haematomas"]),
        ("preset `steady` and teacher_contrast", ["steady", "teacher_contrast"]),
    ],
)
def test_words_are_found_whole(text: str, found: list[str]) -> None:
    assert house_words(text) == found


def test_a_list_entry_is_one_paragraph() -> None:
    assert list(paragraphs("- Renamed: a\n  to b\n- Fixed")) == ["- Renamed: a   to b", "- Fixed"]


def test_exceptions_are_needed() -> None:
    for name, parts in ALLOWED.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        for part in parts:
            assert any(part in line and house_words(line) for line in paragraphs(text)), (name, part)


def missing_pages(text: str, homes: tuple[Path, ...]) -> list[str]:
    """Pages and notes that a text names by path and that lie in none of the homes."""
    named = re.findall(r"(?:plugins/[\w-]+/)?docs/[\w/.-]+?\.md|(?<![\w/])notes/[\w-]+\.md", text)
    return sorted({page for page in named if not any((home / page).is_file() for home in homes)})


@pytest.mark.parametrize("folder", ["ctseg", "plugins", "tests"])
def test_pages_named_in_code_exist(folder: str) -> None:
    reproduce = ROOT / "plugins" / "ctseg-reproduce"
    homes = (ROOT, reproduce, reproduce / "docs")
    wrong = {
        path.relative_to(ROOT).as_posix(): missing
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (missing := missing_pages(path.read_text(encoding="utf-8"), homes)) and path != Path(__file__)
    }
    assert wrong == {}


def test_a_page_that_is_missing_is_found() -> None:
    text = "see docs/formats.md, plugins/ctseg-reproduce/docs/plus.md and docs/gone.md"
    assert missing_pages(text, (ROOT,)) == ["docs/gone.md"]
