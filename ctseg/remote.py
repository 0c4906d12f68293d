"""Work of a call that is done on other machines: what goes out with it, and what is compared before it is done."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ctseg.parallel import Failure, failure, unpacked
from ctseg.scheduler import worker_name


@dataclass(frozen=True)
class Origin:
    """Of which call a worker on another machine does the work."""

    folder: str
    """That relative paths are meant from."""
    code: str
    """`ctseg.same_code.CODE` there."""
    plugins: tuple[tuple[str, str], ...] = ()
    """Packages of plugins that the work needs, and digests of their modules there."""

    @classmethod
    def here(cls, packed: bytes = b"") -> Origin:
        """Of this process, and of pickled work."""
        from ctseg.same_code import CODE, plugins_in

        return cls(str(Path.cwd()), CODE, tuple(plugins_in(packed).items()) if packed else ())


def attempt_in(origin: Origin, packed: bytes) -> Any:
    """`attempt` on another machine, in the folder and with the code of the call.

    Args:
        origin: of the call.
        packed: work and item by pickle: what cannot be unpacked here is one case's failure, and not the worker's end.
    """
    from ctseg.same_code import CODE, differing

    machine = worker_name()
    if origin.code != CODE:
        return Failure(f"the worker's machine {machine} has {CODE}, and the call {origin.code}; install the same there")
    other = differing(dict(origin.plugins))
    if other:
        return Failure(f"the worker's machine {machine} {other}; install the same plugins there")
    try:
        os.chdir(origin.folder)
    except OSError as error:
        where = f"{origin.folder}: no such folder on the worker's machine {machine} ({error.strerror})"
        return Failure(f"{where}; workers need the same disk under the same path")
    try:
        work, item = unpacked(packed)
    except Exception as error:
        return Failure(f"the worker's machine {machine}: {failure(error).error}; install the same plugins there")
    try:
        return work(item)
    except (Exception, SystemExit) as error:
        found = failure(error)
        return replace(found, error=f"{found.error} (on {machine})") if _is_missing(error) else found


def _is_missing(error: BaseException | None) -> bool:
    """Whether an error comes of a file that is not there, as on a machine that does not see the call's disk."""
    while error is not None:
        if isinstance(error, FileNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False


def packed_of(value: object) -> bytes:
    """By pickle, and by Dask's own where a plugin's object holds what pickle does not take, as a lambda."""
    try:
        return pickle.dumps(value)
    except (AttributeError, TypeError, pickle.PicklingError):
        from cloudpickle import dumps

        return bytes(dumps(value))
