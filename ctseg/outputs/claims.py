"""Claims on cases in a folder that several processes share, on one machine or on many, whoever of them is killed.

A claim is a file that only one process can create, `claims/NAME.1`. While its process works it keeps the file locked
and touches it every few seconds. It is dead when it can be locked on the machine that it was made on, and on every
machine when it has not been touched for a while, as that of a process that was stopped; `NAME.2` then takes it over.
Nothing is ever removed or renamed before all is done, so no process can take away what another has just got. What a
case gave is `done/NAME`, which appears whole and once: of two processes that both believe in their claim, the second's
result is dropped. Where the folder is gone, or another one is in its place, nothing more is claimed or recorded.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ctseg.errors import InputError
from ctseg.files import sync
from ctseg.locks import Busy, Unknown, is_unlocked, lock, unlock
from ctseg.outputs.once import appear, is_gone

LEASE_SECONDS = 120.0
"""A claim is dead when it was not touched for so long; by the own clock, clocks may differ."""
TOUCH_SECONDS = 15.0
POLL_SECONDS = 0.5
FRESH_SECONDS = 5.0
"""The folder is listed again after so long, so that what others did meanwhile costs no look at each case."""
MOST_DEATHS = 5
"""A case that so many processes were killed over has failed: it may be what kills them."""
NEW = ".new-"
"""How names of files begin that have not got their own yet."""
NUMBERS = frozenset(map(str, range(1, 10_000)))
"""What ends the name of a claim."""
MOST_STALE = 100
"""Times in a row that a network disk may call claims stale: one that stays so would be waited for without end."""
MOST_TEXT = 1000
"""Bytes of a claim that are read."""
RELEASED = b"released"
"""What a claim says that its process gave back."""
CALL = "call-"
"""How the name of a file begins that each process leaves in the folder, to know it from one made in its place."""


def machine() -> str:
    """What tells whether a lock on a file can be seen: the same for all processes of one running kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        import platform

        return platform.node()


@dataclass
class _Seen:
    """Another machine's claim as it was when it last changed."""

    touched: int
    since: float


class Claims:
    """The claims of one process; `with Claims(folder) as claims` keeps them alive."""

    def __init__(self, folder: Path, *, lease: float = LEASE_SECONDS) -> None:
        """Join the claims in a folder.

        Args:
            folder: shared by all; it is made.
            lease: seconds after which an untouched claim is dead.

        Raises:
            FileNotFoundError: if the folder was removed meanwhile.
        """
        self.folder, self.claims, self.done = Path(folder), Path(folder) / "claims", Path(folder) / "done"
        self.lease = lease
        for part in (self.claims, self.done):
            part.mkdir(parents=True, exist_ok=True)
        self._call = self.folder / f"{CALL}{secrets.token_hex(8)}"
        self._call.touch()
        self._machine = machine()
        self._held: dict[str, int] = {}
        """Name -> open, locked claim."""
        self._stale = 0
        self._numbers: dict[str, int] = {}
        """Name -> number of the claim that this process made last."""
        self._seen: dict[str, _Seen] = {}
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._toucher = threading.Thread(target=self._touch_all, daemon=True)

    def __enter__(self) -> Claims:
        self._toucher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was claimed and is not done."""
        self._over.set()
        self._toucher.join()
        for name in list(self._held):
            self.release(name, given_back=True)

    def finished(self) -> set[str]:
        """Names that are done.

        Raises:
            FileNotFoundError: if the folder is gone, or another one is in its place.
        """
        return set(self._names_in(self.done))

    def _names_in(self, part: Path) -> list[str]:
        try:
            names = [entry.name for entry in os.scandir(part) if not entry.name.startswith(NEW)]
        except OSError as error:
            if not is_gone(error):
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(part)) from None
        if not self.is_same():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(part))
        return names

    def is_same(self) -> bool:
        """Whether the folder is the one that was joined, not gone and not a new one of other work."""
        try:
            return self._call.exists()
        except OSError as error:
            if not is_gone(error):
                raise
            return False

    def take(self, names: Sequence[str], give_up: Callable[[str], None] | None = None) -> Iterator[str]:
        """Claim one name after the other, as they are asked for, until none is free.

        Args:
            names: of all cases; each process begins at another place among them.
            give_up: called with a name that was claimed and that `MOST_DEATHS` processes were killed over; it should
                record that. Without, such a name is tried like any other.
        """
        first = secrets.randbelow(len(names)) if names else 0
        listed = -FRESH_SECONDS
        for name in (*names[first:], *names[:first]):
            if time.monotonic() - listed > FRESH_SECONDS:
                listed = time.monotonic()
                try:
                    claimed, done = self._latest(), self.finished()
                except FileNotFoundError:
                    return  # all is done, and the folder is gone
            latest = claimed.get(name, 0)
            if name in done or not self._take_over(name, latest):
                continue
            if give_up is not None and self._deaths(name, latest) >= MOST_DEATHS:
                give_up(name)
            else:
                yield name

    def _take_over(self, name: str, latest: int) -> bool:
        """Claim a name that nobody has claimed, or whose latest claim is free and gave no record before it was."""
        if latest and not (self._is_free(name, latest) and not self.record(name).exists()):
            return False
        return self._claim(name, latest + 1)

    def wait(self, names: Iterable[str]) -> bool:
        """Wait until one of the names that are not done is free; False once all are done."""
        names = list(names)
        while True:
            try:
                done, claimed = self.finished(), self._latest()
            except FileNotFoundError:
                return False  # all is done, and the folder is gone
            left = [name for name in names if name not in done]
            if not left:
                return False
            if any(not claimed.get(name) or self._is_free(name, claimed[name]) for name in left):
                return True
            time.sleep(POLL_SECONDS)

    def publish(self, name: str, write: Callable[[Path], None]) -> bool:
        """Record what a claimed case gave, whole and once, and let go of the claim.

        Args:
            name: claimed.
            write: writes the record to the path it is given.

        Returns:
            Whether it counts: False where another process was faster, which took this one for dead, and where the
            folder is not the one that was joined.
        """
        new = self.done / f"{NEW}{secrets.token_hex(8)}"
        try:
            if not self.is_same():
                return False
            write(new)
            sync(new)
            return appear(new, self.done / name)
        except OSError as error:
            if not is_gone(error):
                raise
            return False  # as above
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            self.release(name)

    def is_lost(self, name: str) -> bool:
        """Whether another process has taken over what this one had claimed."""
        try:
            return self.record(name).exists() or self._latest().get(name, 0) > self._numbers.get(name, 0)
        except FileNotFoundError:
            return False

    def record(self, name: str) -> Path:
        """Where the record of a case lies."""
        return self.done / name

    def release(self, name: str, *, given_back: bool = False) -> None:
        """Let go of a claim; `given_back` says at once, to other machines too, that the case is free."""
        with self._guard:
            handle = self._held.pop(name, None)
        if handle is None:
            return
        with suppress(OSError):
            if given_back:
                os.pwrite(handle, RELEASED, 0)
                os.ftruncate(handle, len(RELEASED))
        unlock(handle)
        os.close(handle)

    def _claim(self, name: str, number: int) -> bool:
        """Create the claim, locked and with its text; of several processes one can."""
        if (self.claims / f"{name}.{number}").exists() or not self.is_same():
            return False
        new = self.claims / f"{NEW}{secrets.token_hex(8)}"
        try:
            if not self._name_claim(new, name, number):
                return False
        except FileNotFoundError:
            return False
        except BaseException:
            new.unlink(missing_ok=True)  # an interruption can come in the middle of that
            raise
        if self.record(name).exists():  # done since the folder was listed
            self.release(name)
            return False
        return True

    def _name_claim(self, new: Path, name: str, number: int) -> bool:
        """Make and lock a nameless claim and name it; whether the name was free."""
        opened: list[int] = []
        try:
            opened.append(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
            with suppress(Busy, Unknown):
                lock(opened[0])
            os.write(opened[0], json.dumps({"machine": self._machine, "process": os.getpid()}).encode())
            with self._guard:
                is_first = appear(new, self.claims / f"{name}.{number}")
                if is_first:
                    self._held[name], self._numbers[name] = opened.pop(), number
        finally:
            new.unlink(missing_ok=True)
            for handle in opened:
                os.close(handle)
        return is_first

    def _latest(self) -> dict[str, int]:
        """Name -> number of its latest claim."""
        latest: dict[str, int] = {}
        for claim in self._names_in(self.claims):
            name, _, number = claim.rpartition(".")
            if name and number in NUMBERS:  # else no claim, whoever put it there
                latest[name] = max(latest.get(name, 0), int(number))
        return latest

    def _is_free(self, name: str, number: int) -> bool:
        """Whether the process of a claim is gone, was stopped for long, or gave it back."""
        if name in self._held:
            return False
        path = self.claims / f"{name}.{number}"
        try:
            # Opening asks a network disk for what is there now.
            handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            self._stale = 0
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise InputError(f"{path}: no claim of a call of ctseg; remove it and call again")
                return self._is_dead(path.name, handle)
            finally:
                os.close(handle)
        except OSError as error:
            self._stale += error.errno == errno.ESTALE
            if not is_gone(error) or self._stale > MOST_STALE:
                raise  # a claim that is gone is not listed the next time, and one that stays stale is never free
            return False

    def _is_dead(self, key: str, handle: int) -> bool:
        text = os.pread(handle, MOST_TEXT, 0)
        if text == RELEASED:
            return True
        if _machine_of(text) == self._machine:
            with suppress(Unknown):
                if is_unlocked(handle):
                    return True
        return self._is_expired(key, os.fstat(handle).st_mtime_ns)

    def _is_expired(self, key: str, touched: int) -> bool:
        seen = self._seen.get(key)
        if seen is None or seen.touched != touched:
            self._seen[key] = _Seen(touched, time.monotonic())
            return False
        return time.monotonic() - seen.since > self.lease

    def _deaths(self, name: str, latest: int) -> int:
        """How many processes lost a case without giving it back; where it cannot be enough, nobody looks."""
        if latest < MOST_DEATHS:
            return 0
        deaths = 0
        for number in range(1, latest + 1):
            with suppress(FileNotFoundError), (self.claims / f"{name}.{number}").open("rb") as file:
                deaths += file.read(MOST_TEXT) != RELEASED
        return deaths

    def _touch_all(self) -> None:
        while not self._over.wait(TOUCH_SECONDS):
            with self._guard:
                for handle in self._held.values():
                    with suppress(OSError):
                        os.utime(handle)


def _machine_of(text: bytes) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return str(found.get("machine", "")) if isinstance(found, dict) else ""
