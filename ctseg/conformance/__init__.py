"""The conformance kit: the checks that every plugin has to pass, built-in or not.

In a plugin's own tests, one pytest test for each check:

    import pytest
    from ctseg.conformance import checks

    @pytest.mark.parametrize("check", checks("segmenter", "my-net"))
    def test_conformance(check):
        check()

or all of them in one: `from ctseg.conformance import check` and `check("segmenter", "my-net")`. The same checks from
the command line: `ctseg plugins check my-net`.
"""

from __future__ import annotations

from ctseg.conformance.kit import BoundCheck, ConformanceError, Outcome, check, checks, run_checks

__all__ = ["BoundCheck", "ConformanceError", "Outcome", "check", "checks", "run_checks"]
