from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from segment_helpers import KilledOn, NonAirIsBrain, bright_model

from ctseg.inference.prefetch import Failure, prefetch_prepared
from ctseg.inference.prepare import ReadyCase
from ctseg.io.case import Case
from ctseg.io.discover import discover


def missing(name: str) -> Case:
    return Case(name, name, "nifti", "ct", (Path(f"nowhere/{name}.nii.gz"),))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_results_come_in_the_cases_order_from_any_executor(dicom_folder, count):
    (good,) = discover(dicom_folder).cases
    cases = [missing("a"), good, missing("b"), good, good, missing("c")]
    with ThreadPoolExecutor(count) as executor:
        found = list(
            prefetch_prepared(cases, [bright_model().preprocessing], NonAirIsBrain(), executor=executor, workers=count)
        )
    assert [case for case, _ in found] == cases
    assert [type(outcome) for _, outcome in found] == [Failure, ReadyCase, Failure, ReadyCase, ReadyCase, Failure]


@pytest.mark.slow
def test_a_killed_worker_costs_one_case(dicom_folder):
    (good,) = discover(dicom_folder).cases
    cases = [good, missing("a"), good]
    killer = KilledOn(good.case_id)
    found = [outcome for _, outcome in prefetch_prepared(cases, [bright_model().preprocessing], killer, workers=1)]
    assert [type(outcome) for outcome in found] == [Failure, Failure, Failure]
    assert ["left with exit code 9" in outcome.error for outcome in found] == [True, False, True]
    assert "nowhere" in found[1].error
