"""Bounds for a plugin while ctseg calls it: a fault is one line that names the plugin, and nothing of it stays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import PurePath
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from ctseg.errors import CtsegError, PluginError
from ctseg.plugins import contained
from ctseg.plugins.contained import StoppedError, bounded, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ctseg.io.volume import Volume
    from ctseg.plugins.protocols import BrainExtractor


NO_PLACES = (contextlib.__file__, contained.__file__, "<frozen importlib._bootstrap>")
"""Files that call what a plugin does, or what its `import` and `os._exit` do."""


@contextmanager
def plugin_call(who: str) -> Iterator[None]:
    """Call a plugin in the block, within `ctseg.plugins.contained.bounded`.

    Args:
        who: names the plugin and its package, as 'brain extractor soft of ctseg-soft 0.1.0'.

    Raises:
        PluginError: for whatever it raises but errors of ctseg's own, a lack of memory and what a signal does.
    """
    try:
        with bounded():
            yield
    except (CtsegError, MemoryError):
        raise
    except RuntimeError as error:
        said = one_line(error)
        if "out of memory" in said or "can't allocate memory" in said:  # torch's; fewer at a time may fit
            raise
        raise PluginError(f"{who}: {one_line(error)} ({place_of(error)})") from error
    except (Exception, SystemExit) as error:
        cause = error.__cause__ if isinstance(error, StoppedError) and error.__cause__ else error
        way_out = "; install what it needs" if isinstance(cause, ImportError) else ""
        raise PluginError(f"{who}: {one_line(cause)} ({place_of(cause)}){way_out}") from cause


def call_of(package: str, who: str) -> AbstractContextManager[None]:
    """`plugin_call` for the code of another package; that of ctseg itself needs none."""
    return nullcontext() if package == "ctseg" else plugin_call(who)


def place_of(error: BaseException) -> str:
    """File and line that raised an error, as `ctseg_soft/brain_extractor.py:12`; of ctseg's bounds, who called them."""
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.endswith(NO_PLACES)]
    if not frames:
        return "no line"
    path = PurePath(frames[-1].filename)
    return f"{'/'.join(path.parts[-2:])}:{frames[-1].lineno}"


def name_of(thing: object) -> str:
    """What an object of a plugin is called where its registered name is not known: `Generator of ctseg_pixels`."""
    own: Any = thing if isinstance(thing, type) or hasattr(thing, "__name__") else type(thing)
    return f"{own.__name__} of {own.__module__.partition('.')[0]}"


def made_by(extractor: object) -> dict[str, dict[str, str]]:
    """What a slice set and the models that learn from it say of an extractor; nothing of one that ctseg has."""
    if not isinstance(extractor, OutsideExtractor):
        return {}
    return {"brain_extractor": dict(zip(("name", "package", "version"), extractor.plugin, strict=True))}


@dataclass(frozen=True)
class OutsideExtractor:
    """A brain extractor of another package, which is called within bounds."""

    extractor: BrainExtractor
    who: str
    plugin: tuple[str, str, str] = ("", "", "")
    """Its name, package and version: what slices that are made with it say."""

    def __call__(self, volume: Volume) -> NDArray[np.bool_]:
        """(K, h, w) the brain of a CT volume, as the plugin gives it."""
        with plugin_call(self.who):
            return self.extractor(volume)
