"""Progress in a log and under --quiet."""

from __future__ import annotations

import pytest

from ctseg import progress
from ctseg.progress import Progress, span


def test_a_log_gets_a_line_now_and_then_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("Match", 10) as bar:
        for _ in range(5):
            now[0] += 12.0
            bar.advance(1, "case")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Match: 2/10, 1 min 36 s left  case"
    assert lines[-1] == "Match: 5 done in 1 min 00 s"
    assert len(lines) == 3


def test_what_comes_before_the_first_step_is_not_the_pace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("Train", 100) as bar:
        now[0] = 60.0  # loading and the first, slow step
        bar.advance()
        for _ in range(11):
            now[0] += 2.0
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Train: 1/100"
    assert lines[1] == "Train: 12/100, 2 min 56 s left"


def test_quiet_says_nothing_and_an_error_claims_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Match", 1, quiet=True) as bar:
        bar.advance()
    with pytest.raises(ValueError, match="x"), Progress("Match", 2) as bar:
        bar.advance()
        raise ValueError("x")
    assert capsys.readouterr().err == ""


def test_spans_read_as_people_say_them() -> None:
    assert [span(value) for value in (3, 61, 3725)] == ["3 s", "1 min 01 s", "1 h 02 min"]
