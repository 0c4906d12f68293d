"""The brain network against the thresholds at a clinical size, in turn on one core."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from test_brain_speed import head

from ctseg.preprocess.brain import MuschelliExtractor
from ctseg.preprocess.brain_network import BrainNetworkExtractor


@pytest.mark.slow
def test_the_network_is_about_as_fast_or_faster(record_property: Callable[[str, object], None]) -> None:
    volume = head()
    times: dict[str, list[float]] = {"muschelli": [], "brain-network": []}
    found = {}
    for _ in range(3):
        for name, extractor in (("muschelli", MuschelliExtractor()), ("brain-network", BrainNetworkExtractor())):
            started = time.process_time()
            found[name] = extractor(volume)
            times[name].append(time.process_time() - started)
    both = (found["muschelli"] & found["brain-network"]).sum()
    assert 2 * both / sum(mask.sum() for mask in found.values()) > 0.95
    ratio = min(times["muschelli"]) / min(times["brain-network"])
    record_property("seconds", round(min(times["brain-network"]), 3))
    record_property("times_faster", round(float(np.round(ratio, 2)), 2))
    # 1.7 on a processor with AVX-512 (0.25 s), 1.1 on one without it (0.40 s): there matrix products are slower.
    assert ratio > 0.8
