"""Claims on cases in a shared folder: each case once, whoever is killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from ctseg.outputs import claims as module
from ctseg.outputs.claims import MOST_DEATHS, RELEASED, Claims

NAMES = [f"case {number}.x" for number in range(6)]


def note(text: str):
    return lambda path: path.write_text(text)


def test_each_case_is_claimed_once_and_recorded_once(tmp_path: Path) -> None:
    with Claims(tmp_path / "share") as one, Claims(tmp_path / "share") as two:
        mine, others = one.take(NAMES), two.take(NAMES)
        got = [next(mine), next(others), next(mine)]
        assert len(set(got)) == 3
        assert one.publish(got[0], note("one"))
        assert two.publish(got[1], note("two"))
        rest = [*mine, *others]
        assert sorted([*got, *rest]) == sorted(NAMES)
        assert list(two.take(NAMES)) == []
        assert one.record(got[0]).read_text() == "one"
        assert not one.publish(got[1], note("late"))
        assert one.record(got[1]).read_text() == "two"
        assert one.finished() == {got[0], got[1]}
    assert not list((tmp_path / "share" / "done").glob(".new-*"))


def test_what_is_given_back_is_free_at_once(tmp_path: Path) -> None:
    with Claims(tmp_path) as two:
        with Claims(tmp_path) as one:
            assert list(one.take(["a"])) == ["a"]
            assert list(two.take(["a"])) == []
        assert two.wait(["a"])
        assert list(two.take(["a"])) == ["a"]
        two.publish("a", note(""))
        assert not two.wait(["a"])


def _claim_and_sleep(folder: Path, ready: Path) -> None:
    with Claims(folder) as claims:
        ready.write_text(next(claims.take(["a"])))
        time.sleep(300)


def _killed_holder(folder: Path, ready: Path) -> None:
    holder = get_context("fork").Process(target=_claim_and_sleep, args=(folder, ready))
    holder.start()
    while not ready.exists():
        time.sleep(0.01)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    ready.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_killed_process_loses_its_claim_and_a_case_that_kills_all_is_given_up(tmp_path: Path) -> None:
    folder, ready = tmp_path / "share", tmp_path / "ready"
    for number in range(1, MOST_DEATHS):
        _killed_holder(folder, ready)
        assert sorted(path.name for path in (folder / "claims").iterdir()) == [f"a.{n}" for n in range(1, number + 1)]
    given_up: list[str] = []
    with Claims(folder) as claims:
        assert list(claims.take(["a"], given_up.append)) == ["a"]
        claims.release("a", given_back=True)
        assert given_up == []
    _killed_holder(folder, ready)
    with Claims(folder) as claims:
        assert list(claims.take(["a"], given_up.append)) == []
        assert given_up == ["a"]


def _as_another_machine(folder: Path) -> None:
    """The claim says that it was made on another machine, where a lock cannot be seen."""
    (claim,) = (folder / "claims").iterdir()
    claim.write_text('{"machine": "elsewhere"}')


def test_a_claim_of_another_machine_lives_while_it_is_touched(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(module, "TOUCH_SECONDS", 0.05)
    with Claims(tmp_path, lease=1.5) as here:  # 30 touches: a busy machine keeps a thread waiting for some of them
        with Claims(tmp_path) as there:
            assert list(there.take(["a"])) == ["a"]
            _as_another_machine(tmp_path)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                assert list(here.take(["a"])) == []
                time.sleep(0.05)
            there._over.set()  # the machine loses its power: no more touches, and no lock that tells
            there._toucher.join()
            started = time.monotonic()
            assert here.wait(["a"])
            assert time.monotonic() - started >= 0.3
            assert list(here.take(["a"])) == ["a"]
            assert here.publish("a", note("here"))
            assert not there.publish("a", note("there"))  # it comes back, too late
        assert here.record("a").read_text() == "here"


def test_where_there_are_no_locks_touches_tell(tmp_path: Path, monkeypatch) -> None:
    def no_locks(handle: int, *, shared: bool = False) -> None:
        raise module.Unknown

    monkeypatch.setattr(module, "lock", no_locks)
    monkeypatch.setattr(module, "is_unlocked", no_locks)
    with Claims(tmp_path, lease=0.2) as one, Claims(tmp_path, lease=0.2) as two:
        assert list(one.take(["a"])) == ["a"]
        assert list(two.take(["a"])) == []
        time.sleep(0.4)  # not touched: TOUCH_SECONDS is longer
        assert list(two.take(["a"])) == ["a"]


def test_a_disk_without_hard_links_will_do(tmp_path: Path, monkeypatch) -> None:
    def no_links(*_arguments: object, **_more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with Claims(tmp_path) as one, Claims(tmp_path) as two:
        assert list(one.take(["a"])) == ["a"]
        assert list(two.take(["a"])) == []
        assert one.publish("a", note("one"))
        assert not two.publish("a", note("two"))
        assert one.record("a").read_text() == "one"


def test_threads_that_share_do_each_case_once(tmp_path: Path) -> None:
    done: list[str] = []

    def work() -> None:
        with Claims(tmp_path) as claims:
            while claims.wait(names):
                done.extend(name for name in claims.take(names) if claims.publish(name, note(name)))

    names = [str(number) for number in range(60)]
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(done) == sorted(names)


def test_a_folder_that_is_gone_means_that_all_is_done(tmp_path: Path) -> None:
    with Claims(tmp_path / "share") as claims:
        assert list(claims.take(["a"])) == ["a"]
        shutil.rmtree(tmp_path / "share")
        assert not claims.publish("a", note(""))
        assert not claims.wait(["a", "b"])
        assert list(claims.take(["b"])) == []
    assert not (tmp_path / "share").exists()
    assert RELEASED


def test_a_process_that_is_stopped_for_long_loses_its_claim_on_its_own_machine_too(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(module, "TOUCH_SECONDS", 0.05)
    with Claims(tmp_path) as stopped, Claims(tmp_path, lease=0.5) as other:
        assert list(stopped.take(["a"])) == ["a"]
        stopped._over.set()  # as SIGSTOP does: no more touches, while the lock stays
        stopped._toucher.join()
        assert list(other.take(["a"])) == []
        started = time.monotonic()
        assert other.wait(["a"])
        assert time.monotonic() - started >= 0.3
        assert list(other.take(["a"])) == ["a"]
        assert other.publish("a", note("other"))
        assert not stopped.publish("a", note("stopped"))
        assert other.record("a").read_text() == "other"


def test_a_folder_that_was_removed_and_made_again_takes_nothing_of_earlier_calls(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    with Claims(folder) as earlier:
        names = earlier.take(NAMES)
        mine = next(names)
        shutil.rmtree(folder)  # by somebody who thought that no call was running
        with Claims(folder) as later:
            assert list(names) == []
            assert not earlier.publish(mine, note("earlier"))
            assert not earlier.wait(NAMES)
            assert later.finished() == set()
            assert sorted(later.take(NAMES)) == sorted(NAMES)


def test_a_link_whose_answer_was_lost_counts(tmp_path: Path, monkeypatch) -> None:
    """A network disk makes the link, its answer is lost, the client asks again, and now the name is taken."""
    link = os.link

    def answer_lost(new: Path, path: Path) -> None:
        link(new, path)
        raise FileExistsError(errno.EEXIST, "File exists", str(path))

    monkeypatch.setattr(os, "link", answer_lost)
    with Claims(tmp_path) as one:
        assert list(one.take(["a"])) == ["a"]
        assert one.publish("a", note("one"))
    monkeypatch.setattr(os, "link", link)
    with Claims(tmp_path) as two:
        assert list(two.take(["b"])) == ["b"]
        (tmp_path / "done" / "b").write_text("another")
        assert not two.publish("b", note("two"))


def test_a_stale_folder_means_that_all_is_done(tmp_path: Path, monkeypatch) -> None:
    def stale(*_arguments: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with Claims(tmp_path) as claims:
        assert list(claims.take(["a"])) == ["a"]
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", stale)
            with Claims(tmp_path) as other:
                assert list(other.take(["a"])) == []
            patch.setattr(os, "scandir", stale)
            assert not claims.wait(["a", "b"])
            assert list(claims.take(["b"])) == []


@pytest.mark.parametrize("hours", [-30, 0, 30])
def test_the_disk_s_clock_may_differ_by_hours(hours: int, tmp_path: Path, monkeypatch) -> None:
    """A claim lives while its time changes, forwards or backwards, and dies by the watcher's clock alone."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    there, here = Claims(tmp_path), Claims(tmp_path)  # not entered: nothing touches by itself
    assert list(there.take(["a"])) == ["a"]
    _as_another_machine(tmp_path)
    claim = tmp_path / "claims" / "a.1"
    for touch in range(5):
        at = time.time() + 3600 * hours - touch
        os.utime(claim, (at, at))
        assert list(here.take(["a"])) == []
        now[0] += module.LEASE_SECONDS - 1
        assert list(here.take(["a"])) == []
    now[0] += 2
    assert list(here.take(["a"])) == ["a"]
    assert (tmp_path / "claims" / "a.2").exists()


def test_a_process_knows_that_it_was_taken_for_dead(tmp_path: Path, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    stopped, other = Claims(tmp_path), Claims(tmp_path)
    assert list(stopped.take(["a"])) == ["a"]
    assert not stopped.is_lost("a")
    assert list(other.take(["a"])) == []
    now[0] += module.LEASE_SECONDS + 1
    assert list(other.take(["a"])) == ["a"]
    assert stopped.is_lost("a")
    assert not other.is_lost("a")
    assert other.publish("a", note("other"))
    assert stopped.is_lost("a")
    shutil.rmtree(tmp_path)
    assert not stopped.is_lost("a")  # nobody has it any more
