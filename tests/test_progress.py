"""Progress in a log and under --quiet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctseg import progress
from ctseg.progress import MOST_MARKS, Pace, Progress, clock, rich_bar, span


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


def steps_with_pauses(epochs: int, steps: int, step_s: float, pause_s: float) -> Iterator[tuple[int, float]]:
    """(done, seconds) of a training whose epochs end with a validation."""
    now = 0.0
    for done in range(1, epochs * steps + 1):
        now += step_s
        yield done, now
        if done % steps == 0:
            now += pause_s


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_pauses_between_epochs_are_part_of_the_pace(share: float) -> None:
    marks = list(steps_with_pauses(epochs=12, steps=60, step_s=1.0, pause_s=60.0))
    pace, end = Pace(), marks[-1][1]
    for done, now in marks[: int(share * len(marks))]:
        pace.mark(done, now)
    left = pace.seconds_left(len(marks))
    assert left == pytest.approx(end - now, rel=1 / 3)


def test_another_load_of_the_machine_is_noticed() -> None:
    """A third of the cases take 1 s, all others 5 s: the mean over all would say 3 s a case half way."""
    pace, now = Pace(), 0.0
    for done in range(1, 51):
        now += 1.0 if done <= 33 else 5.0
        pace.mark(done, now)
    assert pace.seconds_left(100) == pytest.approx(250, rel=1 / 3)
    assert now < 250 * 2 / 3, "the mean over all would be off by more than a third"


def test_many_marks_are_thinned_and_say_the_same() -> None:
    pace = Pace()
    for done in range(100_000):
        pace.mark(done, 0.5 * done)
    assert pace.seconds_left(200_000) == pytest.approx(50_000, rel=0.01)
    assert len(pace._marks) <= MOST_MARKS


def test_a_bar_says_the_time_left_of_cases_that_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich's own column forgets what is older than 30 s, and then has nothing to say."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = rich_bar()
    task = bar.add_task("Segment", total=4, note="")
    column = bar.columns[-2]
    said = []
    for done in (0, 1, 2, 3, 4):
        bar.update(task, completed=done)
        said.append(str(column.render(bar.tasks[0])))
        now[0] += 50.0
    assert said == ["-:--:--", "-:--:--", "0:01:40", "0:00:50", "0:00:00"]
    assert clock(3725) == "1:02:05"
