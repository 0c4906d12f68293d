"""The conformance kit: what every plugin, ours and theirs, has to pass.

In a plugin's own tests, one pytest test for each check:

    import pytest
    from ctseg.testing import checks

    @pytest.mark.parametrize("check", checks("segmenter", "my-net"))
    def test_conformance(check):
        check()

or all of them in one: `from ctseg.testing import check` and `check("segmenter", "my-net")`. The same checks from the
command line: `ctseg plugins check my-net`.
"""

from __future__ import annotations

from ctseg.testing.kit import BoundCheck, ConformanceError, Outcome, check, checks, run_checks

__all__ = ["BoundCheck", "ConformanceError", "Outcome", "check", "checks", "run_checks"]
