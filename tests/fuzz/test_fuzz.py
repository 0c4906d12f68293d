"""A few hundred spoilt files of every kind: one-line errors of ctseg's own alone come out."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("fuzz_readers.py")


@pytest.mark.slow
def test_spoilt_files_give_ctseg_s_own_errors() -> None:
    spec = importlib.util.spec_from_file_location("fuzz_readers", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_readers"] = module
    spec.loader.exec_module(module)
    outcomes, failures = module.fuzz(420, list(module.READERS), 7, limit_s=20)
    assert not failures, "\n".join(failures)
    assert sum(outcomes.values()) > 100
    refused = sum(number for name, number in outcomes.items() if name.endswith("refused"))
    assert refused > sum(outcomes.values()) / 4  # the changes do reach what is read
