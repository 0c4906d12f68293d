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


def test_quiet_says_nothing_and_an_error_claims_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Match", 1, quiet=True) as bar:
        bar.advance()
    with pytest.raises(ValueError, match="x"), Progress("Match", 2) as bar:
        bar.advance()
        raise ValueError("x")
    assert capsys.readouterr().err == ""


def test_spans_read_as_people_say_them() -> None:
    assert [span(value) for value in (3, 61, 3725)] == ["3 s", "1 min 01 s", "1 h 02 min"]
