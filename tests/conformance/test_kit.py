"""The kit's own manners: in pytest, and whatever a plugin raises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ctseg import conformance
from ctseg.conformance import ConformanceError, check, checks, run_checks
from ctseg.conformance.catalogue import CATALOGUE
from ctseg.errors import PluginError, SettingError
from ctseg.plugins.host import load

BUILT_IN = load(found=[])
SMALL = [
    ("similarity_metric", "amd", {}),
    ("similarity_metric", "phash", {}),
    ("metric", "dice", {}),
    ("metric", "hd95_mm", {}),
    ("generator", "amd", {"width": 4, "growth": 2, "layers": 2}),
    ("generator", "resnet", {"width": 4, "blocks": 1}),
    ("segmenter", "fcn", {"width": 4}),
    ("segmenter", "unet", {"width": 4, "depth": 2}),
    ("brain_extractor", "muschelli", {}),
]


@pytest.mark.slow
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
    bound = checks("similarity_metric", "no-such-metric", registry=BUILT_IN)
    with pytest.raises(ConformanceError, match="unknown similarity metric 'no-such-metric'"):
        bound[1]()


def test_a_skipped_check_skips_the_test() -> None:
    scales = next(
        item for item in checks("metric", "dice", registry=BUILT_IN) if item.__name__ == "scales_with_its_unit"
    )
    with pytest.raises(pytest.skip.Exception, match="its unit is none"):
        scales()


def test_all_in_one_names_every_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(subject: Any, folder: Any) -> None:
        raise RuntimeError("broken\nin two lines")

    def passes(subject: Any, folder: Any) -> None:
        assert folder.is_dir()

    monkeypatch.setitem(CATALOGUE, "similarity_metric", lambda: (fails, passes))
    seen: list[Any] = []
    found = run_checks("similarity_metric", "amd", registry=BUILT_IN, progress=seen.append)
    assert [item.status for item in found] == ["failed", "passed"]
    assert [item.check for item in seen] == ["fails", "passes"]
    with pytest.raises(ConformanceError, match="similarity_metric amd: fails: RuntimeError: broken in two lines"):
        check("similarity_metric", "amd", registry=BUILT_IN)


def test_wrong_names_are_the_callers_fault() -> None:
    with pytest.raises(SettingError, match="unknown kind of plugin 'metrics'.*did you mean 'metric'"):
        checks("metrics", "amd")
    with pytest.raises(PluginError, match="unknown similarity metric 'adm'"):
        run_checks("similarity_metric", "adm", registry=BUILT_IN)
    with pytest.raises(SettingError, match="unknown setting 'lambda'"):
        run_checks("similarity_metric", "amd", registry=BUILT_IN, settings={"lambda": 1})


@pytest.mark.slow
def test_a_metric_is_checked_without_torch() -> None:
    code = (
        "import sys; from ctseg.plugins.host import load; from ctseg.conformance import check; "
        "found = load(found=[]); check('similarity_metric', 'phash', registry=found); "
        "check('metric', 'dice', registry=found); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_the_catalogue_and_the_checks_do_not_import_the_kit() -> None:
    folder = Path(conformance.__file__).parent
    importers = {path.name for path in folder.glob("*.py") if "ctseg.conformance.kit import" in path.read_text()}
    assert importers == {"__init__.py"}
