"""What a plugin does to the process while it is loaded is put back, and none ends or doubles a command."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
from children import in_child

from ctseg import parallel
from ctseg.plugins import contained
from ctseg.plugins.host import Package, Registry, load

PUT_BACK = {
    "working folder": "import os; os.chdir('/')",
    "umask": "import os; os.umask(0o777)",
    "sys.argv": "import sys; sys.argv[1:] = ['--version']",
    "sys.excepthook": "import sys; sys.excepthook = print",
    "sys.path": "import sys; sys.path.clear()",
    "recursion limit": "import sys; sys.setrecursionlimit(900)",
    "alarm": "import signal; signal.alarm(60)",
    "handler of SIGINT": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "handler of SIGTERM": "import signal; signal.signal(signal.SIGTERM, lambda *_: None)",
}
LEFT_OUT = {
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise GeneratorExit": "GeneratorExit",
    "class Odd(BaseException): pass\nraise Odd('words')": "Odd: words",
    "import os; os._exit(0)": "SystemExit: 0",
    "def ctseg_register_metrics(register): raise KeyboardInterrupt": "KeyboardInterrupt",
}


def loaded(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry with a plugin of this code."""
    name = f"plugin_{abs(hash((code, str(folder))))}"
    (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv("CTSEG_DISABLE_PLUGINS", raising=False)
    return load(found=[(EntryPoint("odd", name, "ctseg"), Package("odd", "1.0"))])


def state() -> list[object]:
    """What a plugin must not change."""
    mask = os.umask(0o022)
    os.umask(mask)
    handlers = [signal.getsignal(number) for number in contained.SIGNALS]
    return [Path.cwd(), mask, list(sys.argv), sys.excepthook, set(sys.path), sys.getrecursionlimit(), *handlers]


@pytest.mark.parametrize("what", PUT_BACK)
def test_what_a_plugin_changes_is_put_back_and_noted(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    before = state()
    registry = loaded(PUT_BACK[what], tmp_path, monkeypatch)
    assert state() == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert [(item.package, item.note) for item in registry.noted] == [
        ("odd", f"changed while it was loaded, and put back: {what}")
    ]
    assert not registry.broken


@pytest.mark.parametrize("code", LEFT_OUT)
def test_a_plugin_that_would_end_the_process_is_left_out(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = loaded(code, tmp_path, monkeypatch)
    assert [item.error for item in registry.broken] == [LEFT_OUT[code]]


def test_a_signal_while_a_plugin_is_loaded_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        loaded("import os, signal; os.kill(os.getpid(), signal.SIGINT)", tmp_path, monkeypatch)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_results_are_not_mixed_with_what_a_plugin_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import os\nprint('one')\nos.write(1, b'two')\nos.system('echo three')\nos.close(1)\n"
    loaded(code, tmp_path, monkeypatch)
    os.write(1, b"a result")
    out, err = capfd.readouterr()
    assert out == "a result"
    assert all(word in err for word in ("one", "two", "three"))


def test_a_forked_child_does_not_go_on_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(f"import os\nif not os.fork(): open({str(tmp_path / 'child')!r}, 'w').write(str(os.getpid()))", tmp_path,
           monkeypatch)  # fmt: skip
    (tmp_path / str(os.getpid())).touch()
    pid, status = os.wait()
    assert (tmp_path / "child").read_text() == str(pid)
    assert status == 0
    assert not (tmp_path / str(pid)).exists()


def test_a_slow_plugin_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contained, "SLOW_SECONDS", 0.1)
    loaded("import time; time.sleep(0.5)", tmp_path, monkeypatch)
    assert capsys.readouterr().err.splitlines() == [
        "plugin odd 1.0 is still being loaded after 0.1 s; CTSEG_DISABLE_PLUGINS=odd leaves it out"
    ]
    monkeypatch.setattr(contained, "SLOW_SECONDS", 60.0)
    loaded("ready = True", tmp_path, monkeypatch)
    for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
        timer.join(10)  # it says nothing more, and has ended
        assert not timer.is_alive()
    assert capsys.readouterr().err == ""


def process_state() -> list[object]:
    """What threads share."""
    return [Path.cwd(), os.fstat(1).st_ino, sys.stdout, sys.stderr, os._exit]


def test_of_calls_at_once_the_last_puts_everything_back() -> None:
    before, inside, over = process_state(), threading.Event(), threading.Event()

    def first() -> None:
        with contained.bounded():
            os.chdir("/")
            inside.set()
            over.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(60)
    with contained.bounded():
        over.set()
        thread.join(60)
    assert process_state() == before


def test_a_worker_in_a_plugin_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel.multiprocessing, "parent_process", lambda: SimpleNamespace(join=int))

    def work() -> int:
        with contained.bounded():
            parallel.watch_parent()
            time.sleep(60)
        return 7

    assert in_child(work)[0] == 1
