"""One output that several calls of the same command make together: `--share`, without a scheduler.

The first call that comes makes everything ready, all of them share the cases (`ctseg.outputs.claims`), and one of them
puts the output together. The folder `.ctseg-share-NAME` beside the output holds what is done until then, so that calls
that were killed cost no more than the cases they were at.
"""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ctseg.errors import CtsegError, InputError
from ctseg.files import bounded, creating, read_json, writing_to
from ctseg.harmless import visible
from ctseg.locks import Busy, held
from ctseg.outputs.claims import NEW, Claims
from ctseg.outputs.guard import Output
from ctseg.outputs.leftovers import share_folder
from ctseg.outputs.mark import read_mark
from ctseg.outputs.once import appear, is_gone

START, FINISH = ".start", ".finish"
"""Steps that are done once, claimed as cases are; no case's name begins with a dot."""
TRIES = 5
"""A call may come while the last one removes the folder; it then makes a new one, so often."""
MOST_KEY, MOST_RECORD = 1000, 1 << 24
"""Bytes of a key and of a record of plain values that are read: others write in the folder, too."""


class SpoiltRecordError(InputError):
    """What a shared folder has for a case is not what a call of ctseg leaves there."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: not what a call of this version of ctseg leaves there; remove it and call again")


class Share:
    """What the calls that share an output have in common."""

    def __init__(self, output: Output, key: str, claims: Claims) -> None:
        self.output, self.key, self.claims = output, key, claims

    def finished(self) -> bool:
        """Whether the output is whole, made by calls of this very work."""
        return is_finished(self.output, self.key)

    @contextmanager
    def abandoned_on_error(self) -> Iterator[None]:
        """Around the last step: what cannot be put together is removed, so that a later call makes it again."""
        try:
            yield
        except SpoiltRecordError:
            raise  # of one case
        except CtsegError:
            if self.claims.is_same() and not self.claims.is_lost(FINISH):  # else others need what is there
                _remove(self.claims.folder)
            raise

    def once(self, step: str, act: Callable[[], object]) -> None:
        """Have one of the processes do a step, and wait until it is done, by whomever.

        A process that was stopped in the middle of it for so long that another took it over may find that what it was
        at is removed; it then waits for that other.
        """
        while self.claims.wait([step]):
            for _ in self.claims.take([step]):
                try:
                    act()
                except (CtsegError, OSError, Busy):
                    if not (self.finished() or self.claims.is_lost(step)):
                        raise
                    self.claims.release(step)
                else:
                    self.claims.publish(step, lambda path: path.touch())

    def cases(
        self, names: Sequence[str], work: Callable[[Iterator[str]], None], give_up: Callable[[str], None]
    ) -> None:
        """Work until every case is done, by whomever.

        Args:
            names: of all cases.
            work: takes an iterator of names that this process has claimed, as they are asked for, and publishes each.
            give_up: publishes the failure of a case that too many processes were killed over.
        """
        while self.claims.wait(names):
            work(self.claims.take(names, give_up))

    def publish_json(self, name: str, value: Any) -> bool:
        """`Claims.publish` of plain values."""
        return self.claims.publish(name, lambda path: _write_json(path, value))

    def read(self, name: str) -> Any:
        """What `publish_json` wrote."""
        return read_json(self.claims.record(name), MOST_RECORD)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(visible(json.dumps(value, allow_nan=False)), encoding="utf-8")


def is_finished(output: Output, key: str) -> bool:
    """Whether an output is whole, made by shared calls of the work `key`."""
    mark = read_mark(output.real)
    return mark is not None and mark.finished and mark.inputs.get("share") == key


@contextmanager
def sharing(output: Output, key: str, what: str) -> Iterator[Share | None]:
    """Join the calls that make an output together; None where they have finished it.

    Args:
        output: of `guard_output`, with `share`.
        key: a digest of all that decides the output; other calls with another key are refused.
        what: what the key is of, for that message.

    Raises:
        InputError: if calls of other work share the output, or a call that does not share writes there.
    """
    with creating(output.path):
        output.real.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(held(output.real, shared=True))
            except Busy:
                raise InputError(f"{output.path}: a call without --share writes there; wait for it") from None
            stack.enter_context(writing_to(output.path, share_folder(output.real), reads=True))
            yield from _joined(output, key, what)


def _joined(output: Output, key: str, what: str) -> Iterator[Share | None]:
    folder = share_folder(output.real)
    if is_finished(output, key):
        _remove_left(folder, key)
        yield None
        return
    if folder.is_symlink():
        raise InputError(f"{folder}: is a link; the calls that share write through none, remove it")
    joined, first = _meet(folder, key)
    with joined as claims:
        if first != key:
            raise InputError(
                f"{output.path}: is shared by calls with other {what}; call with the same, or remove {folder} when "
                "none is running"
            )
        share = Share(output, key, claims)
        if share.finished():  # since it was asked for, and the folder was removed and is new
            _remove(folder)
            yield None
            return
        yield share
    if not share.finished():
        if folder.exists() and not share.claims.is_same():
            raise InputError(
                f"{output.path}: {folder} was removed while this call worked there, and is now that of other calls; "
                "what this call did since then does not count"
            )
        raise InputError(f"{output.path}: could not be put together; the call that shared it and tried says why")
    _remove(folder)


def _meet(folder: Path, key: str) -> tuple[Claims, str]:
    """The claims of the calls that share a folder, and the key of the first; made again where it goes meanwhile.

    Raises:
        InputError: if it is removed again and again.
        OSError: if the disk refuses it, or has lost it for good.
    """
    for tried in range(TRIES):
        try:
            return Claims(folder), _key_of(folder, key)
        except OSError as error:  # else the calls that were there have just finished
            if not is_gone(error) or (error.errno == errno.ESTALE and tried == TRIES - 1):
                raise
    raise InputError(f"{folder}: is removed as soon as it is made; see what else works there")


def _key_of(folder: Path, key: str) -> str:
    """The key of the call that came first, which may be this one."""
    new = folder / f"{NEW}{secrets.token_hex(8)}"
    try:
        new.write_text(key, encoding="ascii")
        appear(new, folder / "key")
    finally:
        new.unlink(missing_ok=True)
    return _key_in(folder)


def _remove_left(folder: Path, key: str) -> None:
    """Remove the folder of work that is done, where a call was stopped right before it did that."""
    if not folder.is_symlink() and (folder / "key").is_file() and _key_in(folder) == key:
        _remove(folder)


def _key_in(folder: Path) -> str:
    return bounded(folder / "key", MOST_KEY).read_text(encoding="ascii", errors="replace")


def _remove(folder: Path) -> None:
    """Remove the folder under another name, so that a call that comes now finds none or a new one."""
    gone = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}")
    try:
        folder.replace(gone)
    except OSError:
        return  # another process was faster
    shutil.rmtree(gone, ignore_errors=True)
