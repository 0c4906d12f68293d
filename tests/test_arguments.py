"""Functions of the Python reference name an argument of a wrong kind in one line, and take every right form of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from toy_sets import head, mask, toy, write_pairs

import ctseg
from ctseg.api import find_models, load_for_segment
from ctseg.conformance import checks
from ctseg.errors import CtsegError, SettingError
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.verdict import verdict
from ctseg.implant.head import Head
from ctseg.implant.lay import add, implant_into
from ctseg.implant.wanted import Wanted, draw_wanted
from ctseg.inference.models import ModelGroup
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask
from ctseg.io.slices import SliceSet, open_slices
from ctseg.io.stack import Grid
from ctseg.matching.metrics import AmdMetric
from ctseg.matching.pairs import match, read_pairs
from ctseg.metrics.pair import MaskPair
from ctseg.settings import Settings, resolve

ANY: Any = None
CALLED: list[Any] = [
    open_slices, read_pairs, Grid.even, Wanted, read_case, load_mask, EvaluationSettings, ctseg.list_models
]  # fmt: skip
OPEN, PAIRS, EVEN, WANTED, READ, MASK, SETTINGS, MODELS = CALLED
"""As a notebook calls them, where no type checker looks."""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Slice sets, pairs, a scan and its mask, as the working folder."""
    top, before = tmp_path_factory.mktemp("given"), Path.cwd()
    os.chdir(top)
    toy(top / "mr", "mr", 0)
    toy(top / "ct", "ct", 1)
    write_pairs(top / "pairs.csv", range(8))
    mask(top / "truth", "a", head(top / "scans", "a")[1])
    yield top
    os.chdir(before)


def matched(**given: Any) -> pd.DataFrame:
    right = {"source": open_slices("mr"), "target": open_slices("ct"), "metric": AmdMetric(), "top": 2}
    return match(**{**right, **given})


def made_set(**changed: Any) -> SliceSet:
    return replace(open_slices("mr"), **changed)


IMAGES = np.random.default_rng(0).integers(0, 255, (8, 32, 32)).astype(np.uint8)
BLOOD = np.zeros((3, 8, 8), bool)
BLOOD[1, 2:4, 2:4] = True
GRID = Grid.even(3, (5.0, 1.0, 1.0))
BRIM = np.zeros((9, 40, 40), bool)
BRIM[4, 20, 20] = True


def pair(**given: Any) -> MaskPair:
    return MaskPair.of(**{"pred": BLOOD, "ref": BLOOD, "grid": GRID, **given})


def clot(**given: Any) -> Any:
    voxels = np.full((9, 40, 40), 35.0) if "voxels" not in given else given.pop("voxels")
    brain = np.pad(np.ones((7, 30, 30), bool), ((1, 1), (5, 5), (5, 5))) if "brain" not in given else given.pop("brain")
    head_ = Head.of(voxels, given.pop("grid", Grid.even(9, (5.0, 3.0, 3.0))), brain)
    right = {"head": head_, "rng": np.random.default_rng(0), "wanted": Wanted("lobar", 5.0, 60.0)}
    return implant_into(**{**right, **given})


def segmented(**given: Any) -> Any:
    right = {
        "cases": discover("scans").cases, "groups": [object.__new__(ModelGroup)], "out": "out",
        "settings": SegmentSettings(), "extractor": lambda volume: volume.voxels > 0,
    }  # fmt: skip
    return segment_cases(**{**right, **given})


def evaluated(**given: Any) -> Any:
    return evaluate(**{"pred": "truth", "ref": "truth", "out": "evaluation", **given})


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a folder for a set": (lambda: matched(source="mr"), "match: source: takes a slice set (`ctseg.io.slices.open_sl"),
    "images of floats": (lambda: matched(source=made_set(images=IMAGES / 255)), "match: source: images: float64"),
    "one image": (lambda: matched(target=made_set(images=IMAGES[0])), "match: target: images: uint8 of shape (32, 32)"),
    "masks of 255": (lambda: matched(source=made_set(masks=IMAGES // 128 * 255)), "match: source: masks"),
    "fewer masks": (lambda: matched(source=made_set(masks=IMAGES[:2] // 255)), "match: source: masks of shape (2, 32"),
    "a name twice": (
        lambda: matched(source=made_set(table=open_slices("mr").table.assign(slice_id="a"))),
        "match: source: table: expected a column slice_id that names each of the 8 slices once",
    ),
    "no domain": (lambda: matched(source=made_set(info={})), "match: source: info has no domain"),
    "a metric's name": (lambda: matched(metric="amd"), "match: metric: takes a similarity metric, such as"),
    "a metric's class": (lambda: matched(metric=AmdMetric), "match: metric: takes a similarity metric, such as"),
    "no pairs": (lambda: matched(top=0), "match: top: takes a whole number of at least 1, not 0"),
    "a text": (lambda: matched(top="2"), "match: top: takes a whole number of at least 1, not '2'"),
    "yes": (lambda: matched(top=True), "match: top: takes a whole number of at least 1, not True"),
    "no direction": (lambda: matched(direction="Source"), "match: direction: takes 'source' or 'target', not 'Source'"),
    "two splits": (lambda: matched(split=["train"]), "mr: split: takes the name of a split, not a list"),
    "no callback": (lambda: matched(progress=3), "match: progress: takes a function or None, not 3"),
    "a table of pairs": (
        lambda: PAIRS(matched(), open_slices("mr"), open_slices("ct")),
        "read_pairs: path: takes a path, not a DataFrame",
    ),
    "another direction": (
        lambda: PAIRS("pairs.csv", open_slices("mr"), open_slices("ct"), direction="x"),
        "read_pairs: direction: takes 'source' or 'target' or None, not 'x'",
    ),
    "an opened set": (lambda: OPEN(open_slices("mr")), "open_slices: folder: takes a path, not a SliceSet"),
    "bytes": (lambda: OPEN(b"mr"), "open_slices: folder: takes a path, not b'mr'"),
    "an empty path": (lambda: open_slices(""), "open_slices: folder: the path is empty; give '.'"),
    "one name as several": (lambda: open_slices("mr").ids_to_rows("mr0"), "slice list: takes a list of slice names, n"),
    "no prediction": (lambda: evaluated(pred=[]), "evaluate: pred: no folder of masks; give one or several"),
    "an array": (lambda: evaluated(pred=np.zeros((2, 2))), "evaluate: pred: takes a path, not an ndarray"),
    "no reference": (lambda: evaluated(ref=None), "evaluate: ref: takes a path, not None"),
    "a dict": (lambda: evaluated(settings={}), "evaluate: settings: takes a ctseg.evaluation.settings.EvaluationSetti"),
    "a frame": (lambda: evaluated(group=pd.DataFrame()), "evaluate: group: takes a path, not a DataFrame"),
    "names of metrics": (lambda: evaluated(metrics=["dice"]), "evaluate: metrics: takes a list of ctseg.metrics.regis"),
    "half a worker": (lambda: evaluated(workers=0.5), "evaluate: workers: takes a whole number of at least 0, not 0.5"),
    "the text no": (lambda: evaluated(overwrite="no"), "evaluate: overwrite: takes True or False, not 'no'"),
    "no executor": (lambda: evaluated(executor=3), "evaluate: executor: takes a concurrent.futures.Executor or None"),
    "no sign": (lambda: verdict((1, 2), float("nan")), "verdict: expected_sign: takes a finite number, not nan"),
    "ends in disorder": (lambda: verdict((2, 1), 1), "verdict: (2, 1) is no interval; give its low and its high end"),
    "probabilities": (lambda: pair(pred=BLOOD * 0.3), "MaskPair.of: pred: a mask has 0 and 1, or labels from 0 on"),
    "NaN": (lambda: pair(ref=np.where(BLOOD, np.nan, 0)), "MaskPair.of: ref: a mask has 0 and 1, or labels from 0 on"),
    "below 0": (lambda: pair(pred=-BLOOD.astype(int)), "MaskPair.of: pred: a mask has 0 and 1, or labels from 0 on"),
    "words": (lambda: pair(pred=BLOOD.astype(str)), "MaskPair.of: pred: takes an array of numbers, not of <U5"),
    "spacings": (lambda: pair(grid=(5, 1, 1)), "MaskPair.of: grid: takes a ctseg.io.stack.Grid (`Grid.of(volume)`, `G"),
    "other slices": (lambda: pair(grid=Grid.even(4, (5, 1, 1))), "MaskPair.of: grid: origins_mm of shape (4, 3)"),
    "flat voxels": (lambda: pair(grid=replace(GRID, row_step_mm=np.zeros(3))), "MaskPair.of: grid: some voxels have n"),
    "slabs below 0": (lambda: pair(grid=replace(GRID, slab_mm=-GRID.slab_mm)), "MaskPair.of: grid: some voxels have n"),
    "a tolerance below 0": (lambda: pair(tolerance_mm=-1), "MaskPair.of: tolerance_mm: takes a finite number of at le"),
    "no spacing": (lambda: Grid.even(3, (0, 1, 1)), "Grid.even: spacing_mm: takes three mm above 0 (slice, row, col"),
    "NaN spacing": (lambda: Grid.even(3, (np.nan, 1, 1)), "Grid.even: spacing_mm: takes a finite number, not nan"),
    "two spacings": (lambda: EVEN(3, (1, 1)), "Grid.even: spacing_mm: takes three mm above 0"),
    "NaN voxels": (lambda: clot(voxels=np.full((9, 40, 40), np.nan)), "Head.of: voxels: some voxels are no numbers"),
    "a brain of shares": (lambda: clot(brain=np.full((9, 40, 40), 0.5)), "Head.of: brain: a mask has 0 and 1, or labe"),
    "a brain of nothing": (lambda: clot(brain=BRIM, grid=Grid.even(9, (1, 0.1, 0.1))), "a haematoma needs a brain tha"),
    "a seed": (lambda: clot(rng=0), "implant_into: rng: takes a generator (`numpy.random.default_rng(seed)`), not 0"),
    "no try": (lambda: clot(tries=0), "implant_into: tries: takes a whole number of at least 1, not 0"),
    "mL as text": (lambda: WANTED("lobar", "5", 60), "haematoma: ml: takes a number, not '5'"),
    "bright oedema": (lambda: Wanted("lobar", 5, 60, oedema_hu=50), "haematoma: oedema of 50 HU; give -100 to 0 HU"),
    "no generator": (lambda: draw_wanted(ANY), "draw_wanted: rng: takes a generator"),
    "one implant": (lambda: add(np.zeros((9, 40, 40)), clot()), "add: implants: takes a list of ctseg.implant.lay.Imp"),
    "another scan": (lambda: add(np.zeros((2, 40, 40)), [clot()]), "add: voxels: (2, 40, 40) does not hold a haematom"),
    "no path": (lambda: discover([]), "discover: inputs: no path; give files or folders of scans"),
    "another modality": (lambda: discover("scans", "CT"), "discover: domain: takes 'auto' or 'ct' or 'mr', not 'CT'"),
    "a path for a case": (lambda: READ("scans/a.nii.gz"), "read_case: case: takes one of the `cases` that `ctseg"),
    "a list of masks": (lambda: MASK(["truth/a.nii.gz"]), "load_mask: path: takes a path, not a list"),
    "half a label": (lambda: MASK(Path("truth/a.nii.gz"), [0.5]), "load_mask: chosen: takes a whole number of at lea"),
    "paths for cases": (lambda: segmented(cases=["scans"]), "segment_cases: cases: takes the `cases` that `ctseg.io."),
    "a case twice": (lambda: segmented(cases=discover("scans").cases * 2), "segment_cases: cases: 'a' is the name of"),
    "no model": (lambda: segmented(groups=[]), "segment_cases: groups: no model; `ctseg.api.load_for_segment` gives s"),
    "an extractor's name": (lambda: segmented(extractor="x"), "segment_cases: extractor: takes a brain extractor, as"),
    "no function": (lambda: segmented(on_case=3), "segment_cases: on_case: takes a function or None, not 3"),
    "a wrong setting": (lambda: SegmentSettings(threshold=2), "SegmentSettings: threshold=2: it should be less than 1"),
    "an unknown setting": (lambda: SETTINGS(x=1), "EvaluationSettings: unknown setting 'x'; known: "),
    "no registry": (lambda: MODELS("x"), "list_models: registry: takes a ctseg.plugins.host.Registry, no"),
    "no kind": (lambda: checks(ANY, "dice"), "unknown kind of plugin None; known: "),
    "no name": (lambda: checks("metric", ANY), "checks: name: takes a registered name, not None"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_an_argument_of_a_wrong_kind_is_named_in_one_line_and_nothing_is_left(fault: str, folder: Path) -> None:
    call, words = WRONG[fault]
    before = sorted(folder.rglob("*"))
    with pytest.raises(CtsegError, match=f"^{re.escape(words)}[^\n]*$"):
        call()
    assert sorted(folder.rglob("*")) == before


FORMS: dict[str, Callable[[Any], Any]] = {
    "uint8": lambda given: given.astype(np.uint8),
    "255": lambda given: given.astype(np.uint8) * 255,
    "float": lambda given: given.astype(float),
    "other byte order": lambda given: given.astype(">i4"),
    "columns first": np.asfortranarray,
    "read-only": lambda given: np.frombuffer(given.tobytes(), given.dtype).reshape(given.shape),
    "tensor": torch.tensor,
    "list": lambda given: given.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mask_is_the_same_mask(form: str) -> None:
    given = FORMS[form](BLOOD)
    before = np.array(given)
    assert pair(pred=given).confusion == (4, 0, 0)
    assert np.array_equal(before, np.array(given))
    brain = np.pad(np.ones((7, 30, 30), bool), ((1, 1), (5, 5), (5, 5)))
    assert np.array_equal(clot(brain=FORMS[form](brain)).change, clot().change)


def test_what_a_callback_raises_reaches_the_caller_and_leaves_nothing() -> None:
    def stop(*_: Any) -> None:
        raise KeyError("mine")

    for call in (matched, evaluated):
        with pytest.raises(KeyError, match="mine"):
            call(progress=stop)
    assert not Path("evaluation").exists()
    assert len(evaluated(out="other").cases) == 1


def test_settings_within_settings_name_their_key() -> None:
    class Inner(Settings):
        width: int = 3

    class Outer(Settings):
        inner: Inner = Inner()

    with pytest.raises(SettingError, match=r"^Outer: inner\.width='x': it should be a valid integer"):
        Outer(inner={"width": "x"})  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"^here: inner\.width='x': it should be a valid integer"):
        resolve(Outer, {"inner": {"width": "x"}}, where="here")


@pytest.mark.slow
def test_loading_a_model_moves_no_random_number_of_the_program() -> None:
    before = torch.get_rng_state()
    load_for_segment(find_models(None), "cpu")
    assert torch.equal(torch.get_rng_state(), before)
