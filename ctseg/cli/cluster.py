"""The Dask scheduler that a command works on: what answers at its address, which code its workers run, who is left."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

from ctseg.cli import common
from ctseg.errors import ClusterError, SettingError, first_line
from ctseg.harmless import one_line
from ctseg.same_code import CODE
from ctseg.scheduler import ANSWER_SECONDS, within

LOGS = ("distributed", "distributed.client", "distributed.utils", "tornado.application", "asyncio")
"""Where Dask and its event loop write tracebacks of connections that have ended."""
LOOK_SECONDS = 15.0
"""The watch over a scheduler and its workers looks this often."""
AGAIN_SECONDS = 600.0
"""What goes on, as a cluster without workers, is said again after so long."""
PATIENCE = 3
"""Looks in a row without an answer; one alone says nothing."""
START = "start one with `dask scheduler`, or give the address that it printed, with tls:// where it did"
SAME_CODE = f"{CODE} has to be on every worker: install the same there, and start the workers again"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The client of a Dask scheduler, while the block works.

    Raises:
        SettingError: if Dask is not installed, no scheduler is at the address, its Dask and this one do not understand
            each other, or a worker has no ctseg, or one of other code.
        ClusterError: naming the address, where the block says that the scheduler is gone.
    """
    try:
        from distributed import Client
    except ImportError:
        raise SettingError("--scheduler needs Dask: pip install 'ctseg[cluster]'") from None
    for name in LOGS:  # what matters is raised, and said once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"distributed\b")  # tables of versions, sizes of what is sent
    difference = _look(address)
    try:
        client = Client(address, timeout=ANSWER_SECONDS)
    except Exception as error:
        if difference:
            raise SettingError(f"--scheduler {address}: {difference}; install the same on both") from None
        raise SettingError(f"--scheduler {address}: takes no client ({one_line(first_line(error))})") from None
    with client:
        if difference:
            common.say(f"note: --scheduler {address}: {difference}; install the same where anything fails")
        said = _check_workers(client, address)
        with _watched(address, said):
            try:
                yield client
            except ClusterError as error:
                raise ClusterError(f"--scheduler {address}: {error}") from None


def _look(address: str) -> str:
    """See that a scheduler is at an address; in which Dask it differs from this process, or an empty text.

    Raises:
        SettingError: if nothing answers there, or something else.
    """
    from importlib.metadata import version

    from distributed.comm.addressing import get_address_host_port, normalize_address

    try:
        get_address_host_port(normalize_address(address), strict=True)
    except ValueError as error:
        reason = f"no address of a scheduler ({one_line(str(error))}); write it as tcp://HOST:8786"
        raise SettingError(f"--scheduler {address}: {reason}") from None
    try:
        found, versions = asyncio.run(_asked(address, "identity", "versions"))
        kind, theirs = str(found["type"]), dict(versions["packages"]).get("distributed")
    except TimeoutError:
        raise SettingError(f"--scheduler {address}: no answer in {ANSWER_SECONDS:g} s; {START}") from None
    except OSError as error:
        raise SettingError(f"--scheduler {address}: no answer ({one_line(first_line(error, 200))}); {START}") from None
    except Exception as error:  # whatever bytes came
        raise SettingError(f"--scheduler {address}: {_no_scheduler(address, error)}") from None
    if "Scheduler" not in kind:
        other = found.get("scheduler") or "as `dask scheduler` printed it"
        what = f"is a Dask {one_line(kind.lower())}"
        raise SettingError(f"--scheduler {address}: {what}; give the address of its scheduler, {one_line(str(other))}")
    ours = version("distributed")
    return "" if theirs == ours else f"runs Dask {theirs}, and this call {ours}"


def _no_scheduler(address: str, error: Exception) -> str:
    if address.startswith("tls:"):
        return (
            f"cannot be asked ({one_line(first_line(error, 200))}); set distributed.comm.tls (ca-file, client.cert, "
            "client.key) in Dask's configuration, as for the scheduler"
        )
    return (
        "what answers there is no Dask scheduler; give the address that `dask scheduler` printed, which is not that of "
        "its dashboard"
    )


async def _asked(address: str, *questions: str) -> list[Any]:
    """What the Dask server at an address says, whatever its version; a server that is silent has no time to be so.

    Raises:
        OSError, TimeoutError: if nothing answers.
        Exception: of many kinds, MemoryError among them, if it is no Dask server.
    """
    from distributed.core import rpc
    from distributed.security import Security

    security = Security().get_connection_args("client")
    server = rpc(address, timeout=ANSWER_SECONDS, connection_args=security)
    async with asyncio.timeout(ANSWER_SECONDS), server:
        return [await getattr(server, question)() for question in questions]


def _check_workers(client: Any, address: str) -> str:
    """Refuse workers that have no ctseg or another: they would end at their first case, or make other files.

    Returns:
        What was said of the workers; mostly nothing.

    Raises:
        SettingError: naming the first one.
    """
    answers = within(ANSWER_SECONDS, lambda: client.run(resolve_name, "ctseg.same_code:CODE", on_error="return"))
    for worker, code in sorted((answers or {}).items()):
        if code != CODE:
            known = f"runs {code}" if isinstance(code, str) else f"has no such ctseg ({one_line(first_line(code))})"
            raise SettingError(f"--scheduler {address}: its worker {worker} {known}; {SAME_CODE}")
    said = "" if answers else _without_workers(address)
    if answers is None:
        said = f"note: --scheduler {address}: some of its workers do not answer; which code they run is not known"
    if said:
        common.say(said, is_error=True)
    return said


def _without_workers(address: str) -> str:
    return f"note: --scheduler {address}: has no workers; start some with `dask worker {address}`"


@contextmanager
def _watched(address: str, said: str) -> Iterator[None]:
    """Say while the block works where no worker is left, or the scheduler does not answer: nothing goes on then.

    Args:
        address: of the scheduler.
        said: what was said of its workers just now.
    """
    over = threading.Event()
    threading.Thread(target=_watch, args=(address, said, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(address: str, said: str, over: threading.Event) -> None:
    failed, when = 0, time.monotonic()
    while not over.wait(LOOK_SECONDS):
        try:
            (found,) = asyncio.run(_asked(address, "identity"))
            failed, line = 0, "" if found["workers"] else _without_workers(address)
        except Exception:  # the scheduler is busy, or gone, which the waiting command will notice
            failed += 1
            line = f"note: --scheduler {address}: does not answer" if failed >= PATIENCE else said
        now = time.monotonic()
        if line and (line != said or now - when > AGAIN_SECONDS) and not over.is_set():
            common.say(line, is_error=True)
            when = now
        said = line
