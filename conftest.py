"""What holds for the tests of the package and of every plugin: a test leaves the process as it found it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest


@contextmanager
def _same_options() -> Iterator[None]:
    """Put the command line's global options back, so that no test runs under `--quiet` because another did.

    The registry stays: tests that replace it put it back themselves, and loading it costs.
    """
    common = sys.modules.get("ctseg.cli.common")
    before = replace(common.STATE) if common else None
    yield
    common = sys.modules.get("ctseg.cli.common")
    if common:
        common.STATE = replace(before or common.State(), registry=common.STATE.registry)


@pytest.fixture(autouse=True)
def _same_options_after_a_test() -> Iterator[None]:
    """What fixtures of the module have set stays set for all of its tests."""
    with _same_options():
        yield


@pytest.fixture(autouse=True, scope="module")
def _same_options_after_a_module() -> Iterator[None]:
    with _same_options():
        yield
