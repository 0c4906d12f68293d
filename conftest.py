"""What holds for the tests of the package and of every plugin: a test leaves the process as it found it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Put the command line's global options back, so that no test runs under `--quiet` because another did.

    The registry stays: tests that replace it put it back themselves, and loading it costs.
    """
    common = sys.modules.get("ctseg.cli.common")
    before = replace(common.STATE) if common else None
    result = yield
    common = sys.modules.get("ctseg.cli.common")
    if common:
        common.STATE = replace(before or common.State(), registry=common.STATE.registry)
    return result
