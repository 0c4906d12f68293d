"""No pattern takes a time that grows with the square of a hostile text: each is tried on long runs of many kinds."""

from __future__ import annotations

import importlib
import re
import time
from pathlib import Path

import pytest

from ctseg.errors import InputError
from ctseg.files import read_toml
from ctseg.io.identity import convention_of
from ctseg.io.kinds import kind_of

ROOT = Path(__file__).parents[1]
LETTERS = 6_000
SECONDS = 0.06
"""Of the CPU, for `LETTERS`; a linear pattern takes about a millisecond, a quadratic one 100 and more."""
UNITS = (
    *"a1 _-.\t:=\"'\\,;/(~[", "a ", "a.", "a_", "a-",
    "1.", "0-", '\\"', "''", '""', "'a", '"a', ".nii", ".zip.",
    "x=", "no ", "sub-", "patient", "tcga-", "BraTS19_a_", "mean ", "without ", "cbf ", "\x1b$", "\\0", ">=1", "A.a.",
    "\n ",
)  # fmt: skip
"""What is repeated."""
STARTS = ("", "a", "-", "a: x", 'a = "', "data file: x", "space", "BraTS19_", "x.nii")
BOUNDED = {
    ("ctseg.inference.bids_names", "SCAN"): "names of files",
    ("ctseg.io.kinds", "RENAMED"): "the last 255 letters of a name",
    ("ctseg.errors", "QUOTED"): "the first 120 letters of an error",
}
"""Patterns that see short texts alone."""


def patterns() -> dict[tuple[str, str], re.Pattern[str] | re.Pattern[bytes]]:
    """Every compiled pattern to which a module of ctseg gives a name; one that it imports has its name elsewhere."""
    found = {}
    for path in sorted((ROOT / "ctseg").rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        if "re.compile" not in code:
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for key, value in vars(importlib.import_module(name)).items():
            if isinstance(value, re.Pattern) and re.search(rf"^{key}\b.*=", code, re.MULTILINE):
                found[name, key] = value
    return found


PATTERNS = patterns()


def seconds(call: object, text: str) -> float:
    """Of the CPU, the least of three times where the first is long: others collect their garbage meanwhile."""
    took = []
    for _ in range(3):
        start = time.process_time()
        call(text)  # type: ignore[operator]
        took.append(time.process_time() - start)
        if took[-1] < SECONDS:
            break
    return min(took)


@pytest.mark.slow
@pytest.mark.parametrize("where", [where for where in PATTERNS if where not in BOUNDED], ids=".".join)
def test_a_pattern_is_linear(where: tuple[str, str]) -> None:
    pattern = PATTERNS[where]
    for unit in UNITS:
        for start in STARTS:
            text = start + unit * (LETTERS // len(unit)) + "!"
            given = text if isinstance(pattern.pattern, str) else text.encode()
            took = seconds(lambda value: [*pattern.finditer(value)], given)  # type: ignore[arg-type]
            took = max(took, seconds(pattern.fullmatch, given))  # type: ignore[arg-type]
            assert took < SECONDS, f"{start!r} and {unit!r} again and again take {took:.2f} s"


def test_the_search_knows_the_patterns() -> None:
    assert len(PATTERNS) > 30
    assert PATTERNS.keys() >= BOUNDED.keys()
    assert seconds(lambda text: re.search(r"(a|b|ab)*c", text), "ab" * 12) < SECONDS


@pytest.mark.parametrize("call", [convention_of, kind_of])
@pytest.mark.parametrize("start", STARTS)
def test_what_sees_short_names_does_not_hang_on_long_ones(call: object, start: str) -> None:
    for unit in UNITS:
        assert seconds(call, start + unit * (30_000 // len(unit)) + "!\n\n") < SECONDS, unit


HOSTILE = {
    "a text that does not end": ('a = "', '\\"'), "a word": ("a = ", "aa"), "quotes": ("'", "''"),
}  # fmt: skip
"""The start of a study, and what follows it again and again."""


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_study_is_refused_at_once(what: str, tmp_path: Path) -> None:
    """Four times the text takes four times as long, under a tracer, too; where time grew by the square it were 16."""
    start, unit = HOSTILE[what]

    def refused(repeats: str) -> None:
        (tmp_path / "study.toml").write_text(start + unit * int(repeats))
        with pytest.raises(InputError, match="study.toml: not a TOML file"):
            read_toml(tmp_path / "study.toml")

    short, long = (seconds(refused, str(repeats)) for repeats in (25_000, 100_000))
    assert long < 8 * short + 0.1


KEY = ".".join("a" * 60)
HIDDEN = (
    f"{KEY} = 1", f"x = '''\n''' # '\n{KEY} = 1", f'x = {{a = """\n""", {KEY} = 1}}', f'x = "#" \n{KEY} = 1',
    f"x = '\"' \n{KEY} = 1", f'x = "\\\\" \n{KEY} = 1', f"# it's\n{KEY} = 1", f'x = """a"""""\n{KEY} = 1',
)  # fmt: skip


@pytest.mark.parametrize("text", HIDDEN)
def test_no_quote_hides_a_key_of_many_parts(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InputError, match="keys of 50 parts"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize("text", [f'x = "{KEY}"', f"x = '''\n{KEY}\n'''", f"# {KEY}\nx = 1", f'x = """"{KEY}"""'])
def test_many_dots_in_a_text_or_a_comment_are_no_key(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    assert "x" in read_toml(tmp_path / "a.toml")
