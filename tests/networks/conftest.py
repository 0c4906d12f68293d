from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctseg.networks.blocks import seeded


@pytest.fixture(autouse=True)
def _same_weights_every_time() -> Iterator[None]:
    with seeded(0):
        yield
