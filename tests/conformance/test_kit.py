"""The kit's own manners: in pytest, and whatever a plugin raises."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ctseg.conformance import ConformanceError, check, checks, run_checks
from ctseg.conformance.catalogue import CATALOGUE
from ctseg.errors import PluginError, SettingError
from ctseg.plugins.host import load

BUILT_IN = load(found=[])
SMALL = [
    ("metric", "amd", {}),
    ("metric", "phash", {}),
    ("generator", "amd", {"width": 4, "growth": 2, "layers": 2}),
    ("generator", "resnet", {"width": 4, "blocks": 1}),
    ("segmenter", "fcn", {"width": 4}),
    ("segmenter", "unet", {"width": 4, "depth": 2}),
    ("brain_extractor", "muschelli", {}),
]


@pytest.mark.parametrize(("kind", "name", "settings"), SMALL, ids=[f"{kind}-{name}" for kind, name, _ in SMALL])
def test_the_built_ins_pass(kind: str, name: str, settings: dict[str, Any]) -> None:
    outcomes = check(kind, name, settings=settings, registry=BUILT_IN)
    assert [item.check for item in outcomes] == [item.__name__ for item in CATALOGUE[kind]()]


def test_each_check_is_a_test_of_its_own() -> None:
    bound = checks("segmenter", "unet")
    assert [item.__name__ for item in bound][:2] == ["registers_without_heavy_imports", "says_what_it_is"]
    assert all(item.summary.endswith(".") for item in bound)
    assert len({item.__name__ for item in bound}) == len(bound)


def test_nothing_is_looked_up_before_a_check_is_called() -> None:
    bound = checks("metric", "no-such-metric", registry=BUILT_IN)
    with pytest.raises(ConformanceError, match="unknown metric 'no-such-metric'"):
        bound[1]()


def test_a_skipped_check_skips_the_test() -> None:
    nearest = next(item for item in checks("metric", "amd", registry=BUILT_IN) if item.__name__ == "nearest_is_exact")
    with pytest.raises(pytest.skip.Exception, match="no nearest of its own"):
        nearest()


def test_all_in_one_names_every_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(subject: Any, folder: Any) -> None:
        raise RuntimeError("broken\nin two lines")

    def passes(subject: Any, folder: Any) -> None:
        assert folder.is_dir()

    monkeypatch.setitem(CATALOGUE, "metric", lambda: (fails, passes))
    told: list[Any] = []
    assert [item.status for item in run_checks("metric", "amd", registry=BUILT_IN, told=told.append)] == [
        "failed",
        "passed",
    ]
    assert [item.check for item in told] == ["fails", "passes"]
    with pytest.raises(ConformanceError, match="metric amd: fails: RuntimeError: broken in two lines"):
        check("metric", "amd", registry=BUILT_IN)


def test_wrong_names_are_the_callers_fault() -> None:
    with pytest.raises(SettingError, match="unknown kind of plugin 'metrics'.*did you mean 'metric'"):
        checks("metrics", "amd")
    with pytest.raises(PluginError, match="unknown metric 'adm'"):
        run_checks("metric", "adm", registry=BUILT_IN)
    with pytest.raises(SettingError, match="unknown setting 'lambda'"):
        run_checks("metric", "amd", registry=BUILT_IN, settings={"lambda": 1})


def test_a_metric_is_checked_without_torch() -> None:
    code = (
        "import sys; from ctseg.plugins.host import load; from ctseg.conformance import check; "
        "check('metric', 'phash', registry=load(found=[])); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr
