"""Warnings and log lines of pydicom: none while ctseg reads, and all of them for a program that reads by itself."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from types import FunctionType

import pytest

from ctseg.io.dicom import quoting


def of_module(name: str, function: FunctionType) -> Callable[..., None]:
    """A function as if it were one of another module."""
    return FunctionType(function.__code__, {**function.__globals__, "__name__": name})


def warn() -> None:
    warnings.warn("Invalid value Doe^Jane", UserWarning, stacklevel=1)


def call(function: Callable[[], None]) -> None:
    function()


@pytest.mark.parametrize(("caller", "count"), [("ctseg.io.dicom.header", 0), ("their_program", 1)])
def test_pydicoms_warnings_are_those_of_who_calls_it(caller: str, count: int) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quoting.keep_quiet()
        of_module(caller, call)(of_module("pydicom.valuerep", warn))
    assert len(said) == count


def test_other_warnings_are_left_alone() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quoting.keep_quiet()
        of_module("ctseg.io.dicom.header", call)(of_module("numpy.core", warn))
    assert len(said) == 1


@pytest.mark.parametrize(("caller", "said"), [("ctseg.io.dicom.header", []), ("their_program", ["of a file"])])
def test_pydicoms_log_lines_are_those_of_who_calls_it(
    caller: str, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    quoting.keep_quiet()

    def log() -> None:
        logging.getLogger("pydicom").warning("of a file")

    of_module(caller, call)(log)
    assert caplog.messages == said
