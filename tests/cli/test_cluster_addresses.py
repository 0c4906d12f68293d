"""What is at the address of `--scheduler`, and which code the workers run: one line that names the address."""

from __future__ import annotations

import pickle
import platform
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import pytest

from ctseg import same_code
from ctseg.cli import cluster, common
from ctseg.cli.main import main
from ctseg.errors import ClusterError, SettingError
from ctseg.parallel import Failure, ordered_map
from ctseg.remote import Origin, attempt_in
from ctseg.same_code import CODE

pytest.importorskip("distributed")

DASHBOARD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
NOT_DASK = "what answers there is no Dask scheduler; give the address that `dask scheduler` printed"


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """A server that sends some bytes to whoever comes; None: it closes at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        guests = []

        def serve() -> None:
            while True:
                try:
                    guests.append(server.accept()[0])
                except OSError:
                    return
                if answer is None:
                    guests.pop().close()
                else:
                    guests[-1].sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for guest in guests:
            guest.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(common, "STATE", common.State())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "no answer in 1 s; start one with `dask scheduler`"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", NOT_DASK),
        (DASHBOARD, NOT_DASK),
        (b"\xff" * 64, NOT_DASK),
        (b"\x00" * 64, NOT_DASK),
        (None, "no answer ("),
    ],
    ids=["silent", "ssh", "dashboard", "ones", "zeros", "closed"],
)
def test_a_server_that_is_no_scheduler_is_one_line(
    answer: bytes | None,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A banner had been taken for a size, so the line said `out of memory`; a silent server had never ended."""
    if answer == b"":  # the others answer at once, which on a busy machine may take longer than a second
        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1.0)
    with answering(answer) as address:
        assert main(["phantom", "--mr", "1", "--ct", "1", "-o", str(tmp_path / "out"), "--scheduler", address]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ctseg: error: --scheduler {address}: {words}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["http://host:8787", "host", "tcp://", "tcp://a:1:2", "foo://a:1", "ucx://a:1", "inproc://a/1/1", " "]
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(SettingError, match="no address of a scheduler .*; write it as tcp://HOST:8786"):  # noqa: SIM117
        with cluster.connected(address):
            pass


def test_tls_without_certificates_is_one_line() -> None:
    """It had been a traceback."""
    with pytest.raises(SettingError, match="set distributed.comm.tls"), cluster.connected("tls://127.0.0.1:9"):
        pass


class Client:
    """Some workers, and what each says of its code."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers = answers

    def run(self, function: Callable[[str], object], name: str, *, on_error: str) -> dict[str, object]:
        assert (function(name), on_error) == (CODE, "return")
        return self.answers


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (ModuleNotFoundError("No module named 'ctseg'"), "has no such ctseg (No module named 'ctseg')"),
        ("ctseg 0.0.9 (code 0)", "runs ctseg 0.0.9 (code 0)"),
    ],
)
def test_a_worker_without_this_ctseg_is_refused_by_name(code: object, words: str) -> None:
    """Dask's worker had ended at its first case, and the call had waited for ever."""
    with pytest.raises(SettingError) as refused:
        cluster._check_workers(Client({"tcp://a:1": CODE, "tcp://b:2": code}), "tcp://s:1")
    assert str(refused.value).startswith(f"--scheduler tcp://s:1: its worker tcp://b:2 {words}; {CODE} has to be on")


def test_no_workers_are_said_under_quiet_too(capsys: pytest.CaptureFixture[str]) -> None:
    common.STATE.quiet = True
    assert cluster._check_workers(Client({"tcp://a:1": CODE}), "tcp://s:1") == ""
    assert capsys.readouterr().err == ""
    said = cluster._check_workers(Client({}), "tcp://s:1")
    assert capsys.readouterr().err == said + "\n"
    assert "has no workers; start some with `dask worker tcp://s:1`" in said


def watched(monkeypatch: pytest.MonkeyPatch, looks: list[Any], said: str = "") -> None:
    """What the watch says at some looks: each is the number of workers, or an error."""
    over = threading.Event()

    async def asked(_address: str, *_questions: str) -> list[Any]:
        look = looks.pop(0)
        if not looks:
            threading.Timer(0.05, over.set).start()
            looks.append(look)
        if isinstance(look, Exception):
            raise look
        return [{"workers": dict.fromkeys(range(look))}]

    monkeypatch.setattr(cluster, "_asked", asked)
    cluster._watch("tcp://s:1", said, over)


def test_workers_that_go_while_the_call_waits_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = cluster._without_workers("tcp://s:1")
    watched(monkeypatch, [2, 2, 0, 0, 1, 0, 0])
    assert capsys.readouterr().err.splitlines() == [line, line]  # each time that they went
    watched(monkeypatch, [0, 0, 0], line)
    assert capsys.readouterr().err == ""  # said already
    monkeypatch.setattr(cluster, "AGAIN_SECONDS", 0.0)
    watched(monkeypatch, [0, 0, 2], line)
    assert capsys.readouterr().err.splitlines() == [line, line]


def test_a_scheduler_that_does_not_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = TimeoutError()
    watched(monkeypatch, [2, lost, lost, 2, lost, lost, 2])
    assert capsys.readouterr().err == ""
    watched(monkeypatch, [2, lost, lost, lost, lost])
    assert capsys.readouterr().err.splitlines() == ["note: --scheduler tcp://s:1: does not answer"]


def test_a_worker_that_comes_later_with_other_code_costs_its_case(tmp_path: Path) -> None:
    packed = pickle.dumps((len, "ab"))
    other = attempt_in(Origin(str(tmp_path), "ctseg 9.9 (code 0)"), packed)
    assert isinstance(other, Failure)
    assert f"has {CODE}, and the call ctseg 9.9 (code 0); install the same there" in other.error
    lacking = packed.replace(b"builtins", b"builtout")
    assert lacking != packed
    found = attempt_in(Origin.here(), lacking)
    assert isinstance(found, Failure)
    assert "cannot unpack the work: ModuleNotFoundError: No module named 'builtout'" in found.error
    assert attempt_in(Origin.here(), packed) == 2


class Elsewhere(Executor):
    """A machine that runs other code."""

    def submit(self, function: Callable[..., Any], /, origin: Origin, packed: bytes) -> Future[Any]:  # type: ignore[override]
        done = Future[Any]()
        done.set_result(function(Origin(origin.folder, "other"), packed))
        return done


def test_work_goes_out_with_the_code_it_is_meant_for() -> None:
    ((_, outcome),) = ordered_map(abs, [-1], workers=1, executor=Elsewhere())
    assert isinstance(outcome, Failure)
    assert "and the call other" in outcome.error


class Workers(Elsewhere):
    """A Dask cluster's executor: what its workers say of their plugins, and whose work is done here."""

    def __init__(self, *digests: dict[str, str] | Exception) -> None:
        found = {f"tcp://w:{number}": answer for number, answer in enumerate(digests, start=1)}
        self.asked: list[list[str]] = []

        def ask(_function: object, names: list[str], *, on_error: str) -> dict[str, object]:
            self.asked.append(names)
            return dict(found)

        self._client = SimpleNamespace(run=ask, nthreads=lambda: dict.fromkeys(found, 1), status="running", futures={1})

    def submit(self, function: Callable[..., Any], /, origin: Origin, packed: bytes) -> Future[Any]:  # type: ignore[override]
        done = Future[Any]()
        done.set_result(function(origin, packed))
        return done


@pytest.fixture
def their_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of an installed plugin `their_metric`, whose function `score` is work."""
    (tmp_path / "their_metric.py").write_text("def score(item):\n    return item + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(same_code, "_plugins", lambda: frozenset({"their_metric"}))
    same_code._installed.cache_clear()
    return same_code.digests_of(["their_metric"])["their_metric"]


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ("", "lacks the plugin their_metric (code DIGEST)"),
        ("0123", "has other code of the plugin their_metric (0123, "),
    ],
)
def test_a_worker_with_another_plugin_is_refused_by_name(theirs: str, words: str, their_metric: str) -> None:
    """ctseg's own code alone had been compared, so a cohort was of two versions of a plugin."""
    score = resolve_name("their_metric:score")
    good = Workers({"their_metric": their_metric}, OSError("busy"))
    assert [outcome for _, outcome in ordered_map(score, [1, 2], workers=1, executor=good)] == [2, 3]
    assert good.asked == [["their_metric"]]  # once for all items
    bad = Workers({"their_metric": their_metric}, {"their_metric": theirs})
    with pytest.raises(ClusterError) as refused:
        list(ordered_map(score, [1, 2], workers=1, executor=bad))
    assert str(refused.value).startswith(f"its worker tcp://w:2 {words.replace('DIGEST', their_metric)}")
    assert str(refused.value).endswith("install the same there, and start the workers again")
    # A worker that comes later fails its case.
    late = attempt_in(Origin(str(Path.cwd()), CODE, (("their_metric", "0123"),)), pickle.dumps((score, 1)))
    assert isinstance(late, Failure)
    assert "has other code of the plugin their_metric" in late.error


def test_plugins_that_the_work_does_not_need_are_not_asked_for(their_metric: str) -> None:
    cluster_ = Workers({"their_metric": "other"})
    assert [outcome for _, outcome in ordered_map(abs, [-1], workers=1, executor=cluster_)] == [1]
    assert cluster_.asked == []


def test_a_machine_that_does_not_see_a_file_is_named(tmp_path: Path) -> None:
    packed = pickle.dumps((Path.read_bytes, tmp_path / "scan.nii.gz"))
    found = attempt_in(Origin.here(packed), packed)
    assert isinstance(found, Failure)
    assert found.error.endswith(f"(on {platform.node()})")
