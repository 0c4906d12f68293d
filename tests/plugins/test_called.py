"""What a plugin does while ctseg calls it: a fault is one line with its name, and nothing of it stays."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from killed_worker import leave
from outside_plugins import outside_entry

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.conformance.toys import toy_head, toy_pairs
from ctseg.errors import CaseError, PluginError
from ctseg.evaluation.evaluate import evaluate
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.registry import Metric, pooled
from ctseg.metrics.volume import volume_metrics
from ctseg.parallel import attempt, ordered_map
from ctseg.plugins.called import plugin_call
from ctseg.plugins.host import load
from ctseg.preprocess.brain_mask import brain_of
from ctseg.preprocess.cases import prepare
from ctseg.preprocess.settings import PreprocessSettings

WHO = "brain extractor odd of ctseg-odd 0.3.1"


def head_mask(volume: Any) -> Any:
    return np.abs(volume.voxels - 35) < 40


def into_place(volume: Any) -> Any:
    volume.voxels[volume.voxels > 60] = 0
    return head_mask(volume)


def raising(error: BaseException) -> Callable[[Any], Any]:
    def extract(volume: Any) -> Any:
        raise error

    return extract


NO_MASKS = {
    "probabilities": lambda volume: np.where(head_mask(volume), 0.9, 0.1),
    "no numbers": lambda volume: np.where(head_mask(volume), 1.0, np.nan),
    "labels": lambda volume: np.where(head_mask(volume), 2, 1),
    "minus one": lambda volume: np.where(head_mask(volume), 1, -1),
    "complex": lambda volume: head_mask(volume).astype(complex),
    "texts": lambda volume: head_mask(volume).astype(str),
}
OTHER_SHAPES = {
    "transposed": lambda volume: head_mask(volume).transpose(2, 1, 0),
    "one slice": lambda volume: head_mask(volume)[0],
    "a channel": lambda volume: head_mask(volume)[None],
    "nothing": lambda volume: None,
    "text": lambda volume: "brain",
}
RAISED = {
    "RuntimeError: out of luck": RuntimeError("out of\n luck"),
    "SystemExit: 0": SystemExit(0),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "FileNotFoundError: weights.bin": FileNotFoundError("weights.bin"),
    "ValueError": ValueError(),
}


def extractor(extract: Callable[[Any], Any]) -> Any:
    return outside_entry("brain_extractor", lambda: extract).extractor()


@pytest.mark.parametrize("what", NO_MASKS)
def test_what_is_no_mask_is_never_read_as_one(what: str) -> None:
    with pytest.raises(PluginError, match=f"^{WHO}: gives .* with other values than 0 and 1, not a mask$"):
        prepare(toy_head(), PreprocessSettings(size=64), extractor(NO_MASKS[what]))


@pytest.mark.parametrize("what", OTHER_SHAPES)
def test_a_mask_of_another_shape_is_refused(what: str) -> None:
    with pytest.raises(PluginError, match=rf"^{WHO}: gives an? .*, not a mask of the scan's shape \(\d+, \d+, \d+\)$"):
        prepare(toy_head(), PreprocessSettings(size=64), extractor(OTHER_SHAPES[what]))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_a_mask_of_0_and_1_is_taken_in_any_dtype(dtype: type) -> None:
    volume = toy_head()
    found = brain_of(extractor(lambda volume: head_mask(volume).astype(dtype)), volume)
    assert found.dtype == np.bool_
    assert np.array_equal(found, head_mask(volume))


def test_an_extractor_cannot_change_the_scan() -> None:
    volume = replace(toy_head(), voxels=toy_head().voxels.copy())
    before = volume.voxels.copy()
    with pytest.raises(PluginError, match=rf"^{WHO}: ValueError: .*read-only \(plugins/test_called\.py:\d+\)$"):
        brain_of(extractor(into_place), volume)
    assert np.array_equal(volume.voxels, before)
    assert volume.voxels.flags.writeable


@pytest.mark.parametrize("words", RAISED)
def test_whatever_it_raises_is_one_line_with_its_name_and_place(words: str) -> None:
    found = attempt(lambda volume: brain_of(extractor(raising(RAISED[words])), volume), toy_head())
    assert found.error.startswith(f"{WHO}: {words} (plugins/test_called.py:")  # type: ignore[union-attr]


def test_errors_of_ctseg_and_a_lack_of_memory_are_left_as_they_are() -> None:
    for error in (CaseError("a: no head"), MemoryError()):
        with pytest.raises(type(error)) as caught, plugin_call("x"):
            raise error
        assert caught.value is error


def test_a_signal_while_it_is_called_is_the_users() -> None:
    with pytest.raises(KeyboardInterrupt):
        brain_of(extractor(lambda volume: os.kill(os.getpid(), signal.SIGINT)), toy_head())


def everything(volume: Any) -> Any:
    sys.stdout.write("brain")
    os.write(1, b"brain")
    os.chdir("/")
    os.umask(0o777)
    np.seterr(all="raise")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.set_autocast_enabled("cpu", True)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    os.close(1)
    os.close(2)
    warnings.simplefilter("error")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stderr = None  # type: ignore[assignment]
    return head_mask(volume)


def state() -> list[Any]:
    mask = os.umask(0o022)
    os.umask(mask)
    errors = [entry for entry in warnings.filters if entry[0] == "error"]
    computing = [
        torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"), torch.get_num_threads(), torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(), torch.backends.mkldnn.enabled,
    ]  # fmt: skip
    files = [os.fstat(number).st_ino for number in (1, 2)]
    handler = signal.getsignal(signal.SIGINT)
    return [Path.cwd(), mask, np.geterr(), errors, handler, sys.stderr, computing, files]


def test_what_it_changes_is_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = state()
    brain_of(extractor(everything), toy_head())
    assert state() == before
    assert capfd.readouterr().out == ""


class Sound:
    def __call__(self, volume: Any) -> Any:
        return head_mask(volume)


def test_it_goes_to_worker_processes_with_its_name() -> None:
    made = outside_entry("brain_extractor", Sound).extractor()
    copy = pickle.loads(pickle.dumps(made))  # noqa: S301 - pickled on this very line
    assert copy.who == WHO
    assert np.array_equal(brain_of(copy, toy_head()), brain_of(made, toy_head()))


def sound(pair: Any) -> Any:
    return 0.25


def swaps(pair: Any) -> Any:
    pair.pred[:] = pair.ref
    return 0.5


def stretches(pair: Any) -> Any:
    pair.grid.slab_mm *= 2
    return 0.5


def writes_and_moves(pair: Any) -> Any:
    sys.stdout.write("metric")
    os.chdir("/")
    return 0.5


METRIC = "metric 'odd' of ctseg-odd 0.3.1: "
WRONG_VALUES = {
    "gives inf, which is outside its range of 0 to 1": float("inf"),
    "gives 7, which is outside its range of 0 to 1": 7,
    "gives -0.1, which is outside its range of 0 to 1": np.float32(-0.1),
    "gives a str, not a number": "0.5",
    "gives a NoneType, not a number": None,
    "gives a complex, not a number": 1j,
    "gives a ndarray, not a number": np.array([0.5, 0.5]),
    "gives a list, not a number": [0.5],
    "gives a complex64, not a number": np.complex64(0.5 + 1j),
    "gives a timedelta64, not a number": np.timedelta64(1),
}


def metric(measure: Any, **given: Any) -> Metric:
    """As `ctseg evaluate` takes it from the plugin."""
    options = {"name": "odd", "title": "Odd", "definition": "odd", "range": (0.0, 1.0), **given}
    made = outside_entry("metric", lambda: Metric(measure=measure, **options)).build()
    return replace(made, made_by="ctseg-odd 0.3.1")


def values_of(measure: Any) -> dict[str, float]:
    pair = toy_pairs()["overlapping"]
    metrics = (metric(measure), *METRICS)
    return volume_metrics(pair.pred, pair.ref, pair.grid, metrics=metrics)


@pytest.mark.parametrize("words", WRONG_VALUES)
def test_a_metric_gives_a_number_of_its_range_or_the_case_fails(words: str) -> None:
    with pytest.raises(PluginError, match=f"^{METRIC}{words}; --no-plugins evaluates without it$"):
        values_of(lambda pair: WRONG_VALUES[words])


@pytest.mark.parametrize(
    "value", [0.25, 1, True, np.float32(0.5), np.int64(1), np.array(0.5), torch.tensor(0.5), Fraction(1, 2)]
)
def test_a_metric_may_give_any_kind_of_number(value: Any) -> None:
    found = metric(lambda pair: value).value(toy_pairs()["overlapping"])
    assert found == float(value)
    assert type(found) in (int, float)


def test_an_error_as_long_as_a_book_is_shortened() -> None:
    with pytest.raises(PluginError) as caught:
        values_of(raising(ValueError("x" * 10**6)))
    assert len(str(caught.value)) < 1300


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("its title is a NoneType, not a text", {"title": None}),
        ("its range (nan, nan) is not a smaller and a larger number", {"range": (float("nan"),) * 2}),
        ("its range ('a', 'b') is not a smaller and a larger number", {"range": ("a", "b")}),
        ("its range (1.0, 0.0) is not a smaller and a larger number", {"range": (1.0, 0.0)}),
        ("a int is no summary of ctseg.metrics.registry", {"summaries": (1,)}),
        ("its ratio is of 'blood', which is no metric", {"summaries": (pooled({"blood": 1.0}, {"tp": 1.0}),)}),
    ],
)
def test_a_metric_that_no_summary_takes_is_refused_before_anything_is_measured(
    words: str, given: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("pred", "ref"):
        nib.save(nib.Nifti1Image(np.ones((4, 4, 2), np.uint8), np.eye(4)), (tmp_path / name).with_suffix(".nii"))
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.nii").rename(tmp_path / name / "a.nii")
    found = metric(sound, **given)
    with pytest.raises(PluginError, match=re.escape(f"{METRIC}{words}; --no-plugins")):
        evaluate(tmp_path / "pred", tmp_path / "ref", tmp_path / "out", metrics=(found,))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("measure", [swaps, stretches])
def test_a_metric_cannot_change_what_the_others_measure(measure: Any) -> None:
    with pytest.raises(PluginError, match=rf"^{METRIC}ValueError: .*read-only"):
        values_of(measure)


def test_the_other_metrics_are_what_they_are_without_it(capfd: pytest.CaptureFixture[str]) -> None:
    here, (pair, other) = Path.cwd(), (values_of(sound), values_of(writes_and_moves))
    assert pair.pop("odd") == 0.25
    assert other.pop("odd") == 0.5
    np.testing.assert_equal(pair, other)
    assert Path.cwd() == here
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda: replace(METRICS[0], measure=sound), "gives a metric of the name 'dice'; both names have to be one"),
        (lambda: sound, r"gives a function, not a ctseg\.metrics\.registry\.Metric"),
        (lambda: sys.exit(0), "SystemExit: 0"),
    ],
)
def test_evaluate_refuses_a_metric_that_is_another(
    factory: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = load(outside=False)
    registry.add(outside_entry("metric", factory))
    monkeypatch.setattr(common, "STATE", common.State(registry=registry))
    (tmp_path / "ref").mkdir()
    call = ["evaluate", "--pred", str(tmp_path / "ref"), "--ref", str(tmp_path / "ref"), "-o", str(tmp_path / "out")]
    assert main(call) == 2
    assert re.match(f"ctseg: error: metric odd of ctseg-odd 0.3.1: {words}", capsys.readouterr().err)


@pytest.mark.parametrize("status", [0, 3, None])
def test_an_exit_of_a_library_does_not_pass_for_a_finished_command(
    status: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ctseg.io.slices.open_slices", lambda folder: sys.exit(status))
    (tmp_path / "set").mkdir()
    call = ["match", "--src", str(tmp_path / "set"), "--tgt", str(tmp_path / "set"), "-o", str(tmp_path / "pairs.csv")]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert re.search(rf"error: sys\.exit\({status}\) in plugins/test_called\.py:\d+ ended `ctseg match` before", said)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exit_within_a_case_ends_no_other_case(workers: int) -> None:
    with closing(ordered_map(leave, [1, 2, 3], workers=workers)) as found:
        assert [outcome.error for _, outcome in found] == ["SystemExit: 0"] * 3  # type: ignore[union-attr]


def missing() -> None:
    import no_such_module  # type: ignore[import-not-found]  # noqa: F401


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda: sys.exit(0), "SystemExit: 0"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda width: width, "TypeError: .*missing 1 required positional argument: 'width'"),
        (missing, r"ModuleNotFoundError: No module named 'no_such_module' .*; install what it needs"),
    ],
)
def test_a_factory_that_fails_is_one_line(factory: Callable[..., Any], words: str) -> None:
    with pytest.raises(PluginError, match=f"^segmenter odd of ctseg-odd 0.3.1: {words}"):
        outside_entry("segmenter", factory).build()


@pytest.mark.parametrize("settings", [lambda: dict, lambda: {"width": 4}, dict, missing])
def test_settings_that_are_none_are_the_plugins_fault(settings: Any) -> None:
    with pytest.raises(PluginError, match="^segmenter odd of ctseg-odd 0.3.1: "):
        outside_entry("segmenter", dict, settings=settings).build()
