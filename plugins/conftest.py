"""Marks for tests of packages whose files must stay as `ctseg plugins new` writes them."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The conformance kit trains every plugin of the template."""
    for item in items:
        if "ctseg-plugin-template" in item.path.parts:
            item.add_marker(pytest.mark.slow)
