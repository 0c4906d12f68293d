"""Networks of other packages in a training: named where they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING

from torch import nn

from ctseg.errors import CtsegError, PluginError
from ctseg.plugins.called import name_of, plugin_call
from ctseg.plugins.contained import StoppedError, bounded
from ctseg.plugins.entry import words

if TYPE_CHECKING:
    from ctseg.plugins.entry import Entry

NOT_OUTSIDE = frozenset({"", "builtins", "ctseg", "functools", "torch"})
"""Top names of modules that no plugin is."""
ENGINE = ("torch.autograd", "torch._tensor")
"""Modules that start torch's backward pass, where errors have no line of the network's."""


@contextmanager
def outside_training(entry: Entry, module: nn.Module) -> Iterator[None]:
    """Train a network in the block; where the network fails, if it is another package's, the error names its plugin.

    What it writes to stdout goes to stderr, and what it changes of the process is put back at the end. The whole
    training is one block, so that this costs nothing for a step.

    Raises:
        PluginError: for errors that come from the plugin's code; others are left as they are.
    """
    if entry.package == "ctseg":
        yield
        return
    try:
        with bounded():
            yield
    except PluginError as error:
        is_its = error.made_by == f"{words(entry.kind)} {name_of(module)}"
        raise (PluginError(error.text, entry.who) if is_its else error) from None
    except CtsegError:
        raise
    except (Exception, SystemExit) as error:
        if not comes_from(error, entry, module):
            raise
        with plugin_call(entry.who):
            raise


def comes_from(error: BaseException, entry: Entry, module: nn.Module) -> bool:
    """Whether an error was raised within a network of another package, or by the backward pass through it."""
    own = {str(getattr(thing, "__module__", "")).partition(".")[0] for thing in (type(module), entry.factory)}
    cause = error.__cause__ if isinstance(error, StoppedError) else error
    frames = walk_tb(None if cause is None else cause.__traceback__)
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
    within = {name.partition(".")[0] for name in names} & (own - NOT_OUTSIDE)
    return bool(within) or "".join(names[-1:]).startswith(ENGINE)
