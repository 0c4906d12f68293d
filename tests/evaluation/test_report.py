"""The report and its pictures, as markup and in a headless browser where there is one."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ctseg.evaluation.cases import match_cases
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.figures import bland_altman
from ctseg.evaluation.numbers import millilitres, with_interval
from ctseg.evaluation.pictures import case_viewer, example_cases, example_slices, load_example, slice_row
from ctseg.evaluation.report import _add_plots
from ctseg.evaluation.scans import Scans
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.io.nifti.volumes import save_map
from ctseg.render.page import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

BROWSER_HOSTS = re.compile(r"(^|\.)(google|googleapis|gvt1|gstatic|googleusercontent)\.com$")
"""Where the browser itself asks for its components, whatever page it shows."""


@pytest.fixture
def report(cohort, masks):
    """A report of two models with scans and viewers."""
    for case in ("a_1", "a_2", "b_1", "b_2"):
        masks.write(cohort / "other", case, masks.box(masks.scan(), slice(3, 11)))
        save_map(cohort / "images" / f"{case}.nii.gz", masks.scan(case), head_of(masks.scan()))
    settings = EvaluationSettings(resamples=100, permutations=100, pictured_cases=2)
    out = cohort / "out"
    evaluate([cohort / "pred", cohort / "other"], cohort / "ref", out, settings=settings, images=cohort / "images")
    return out / "report.html"


def head_of(volume):
    rows, cols = np.mgrid[:16, :16]
    plane = np.where(np.hypot(rows - 7.5, cols - 7.5) < 7, 35.0, -1000.0)
    return np.repeat(plane[None], len(volume.voxels), axis=0)


def outside_references(html):
    """Everything a browser would fetch: attributes and CSS urls that are neither data nor an anchor."""
    found = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']([^"']*)""", html)
    found += re.findall(r"url\(([^)]*)\)", html)
    return [item for item in found if not item.startswith(("data:", "#"))]


@pytest.mark.slow
def test_report_refers_to_nothing_outside(report):
    html = report.read_text()
    assert outside_references(html) == []
    assert outside_references('<img src="http://x/a.png">') == ["http://x/a.png"]
    assert "default-src 'none'" in html
    assert "Not a medical device" in html


@pytest.mark.slow
def test_report_shows_each_kind_of_case_and_its_viewer(report):
    html = report.read_text()
    for title in ("Worst cases of other", "Best cases of other", "Largest false positives of other", "Slice viewer"):
        assert title in html
    assert html.count('class="viewer"') == 4
    assert "Models compared" in html


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_report_runs_in_a_browser_without_errors_or_requests(report, tmp_path):
    log = tmp_path / "net.json"
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    place = (f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *quiet, *place]
    done = subprocess.run(
        [*command, "--dump-dom", report.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "CONSOLE" not in done.stderr
    readouts = re.findall(r'class="readout">(Slice \d+ of 4 · [^<]*)<', done.stdout)
    assert len(readouts) == 4
    assert "reference 0.08 mL" in readouts[0]
    asked = re.findall(r'"url":"https?://([^/"]*)', log.read_text())
    assert [host for host in asked if not BROWSER_HOSTS.search(host)] == []


def test_every_slice_of_a_picture_row_has_its_sides_in_the_upper_corners():
    black = np.zeros((4, 30, 30), np.uint8)
    row = np.asarray(Image.open(io.BytesIO(slice_row(black, (), (1.0, 1.0), [1, 2]))))
    white = (row > 200).all(axis=2)
    assert row.shape == (300, 600, 3)
    for start in (0, 300):
        assert white[:30, start : start + 30].any()
        assert white[:30, start + 270 : start + 300].any()
    assert not white[30:].any()


def test_no_number_of_the_bland_altman_plot_hides_a_point():
    """Bias and limits are named beside the plot: within it lie the points alone."""
    rows = pd.DataFrame({"pred_ml": [90.0, 101.0, 95.0, 300.0], "ref_ml": [92.0, 100.0, 97.0, 301.0]})
    figure = bland_altman(rows.assign(error_ml=rows["pred_ml"] - rows["ref_ml"]), "#2f81f7")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    right = axes.get_window_extent().x1
    assert len(axes.texts) == 3
    for text in axes.texts:
        extent = text.get_window_extent()
        assert right < extent.x0 < extent.x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00 mL"), (0.8374, "0.84 mL"), (66.83, "66.8 mL"), (-101.2, "−101 mL")]
)
def test_volumes_have_two_decimals_at_most(value, text):
    assert millilitres(value) == text


@pytest.mark.slow
def test_the_report_has_no_row_or_column_of_nothing(report):
    html = report.read_text()
    assert "95 % intervals" in html
    assert "HD95 is undefined in 1 lesion case of pred (empty predictions)" in html
    for row in re.findall(r"<tr><th scope=\"row\">[^<]*</th>(.*?)</tr>", html):
        assert set(re.findall(r"<td[^>]*>([^<]*)</td>", row)) != {"–"}


def test_plots_without_a_point_are_left_out_and_said():
    rows = pd.DataFrame({"model": ["m", "m"], "ref_ml": 0.0, "pred_ml": [0.0, 2.0], "dice": float("nan")})
    rows["error_ml"] = rows["pred_ml"] - rows["ref_ml"]
    page = Page("x")
    _add_plots(page, rows, ("m",))
    assert "No reference shows a lesion, so there is no Dice to plot." in page.html()
    assert page.html().count("<figure") == 1  # the volumes
    page = Page("x")
    _add_plots(page, rows.assign(pred_ml=0.0), ("m",))
    assert "m: no case has any volume" in page.html()
    assert "<figure" not in page.html()


def test_zero_and_the_limits_are_in_the_bland_altman_plot():
    rows = pd.DataFrame({"pred_ml": [90.0, 101.0, 95.0], "ref_ml": [10.0, 20.0, 12.0]})
    axes = bland_altman(rows.assign(error_ml=rows["pred_ml"] - rows["ref_ml"]), "#2f81f7").axes[0]
    low, high = axes.get_ylim()
    assert low < 0
    assert high > 83.0


def test_example_slices_are_the_largest_the_most_missed_and_the_most_false_positive():
    ref, pred = np.zeros((6, 8, 8), bool), np.zeros((6, 8, 8), bool)
    ref[1, :6], pred[1, :6] = True, True
    ref[3, :4] = True
    pred[5, :3] = True
    assert example_slices(ref, pred) == [1, 3, 5]
    assert example_slices(np.zeros_like(ref), np.zeros_like(ref)) == [3]


def test_a_viewer_opens_where_the_reference_or_else_a_prediction_is_largest(cohort, masks):
    masks.write(cohort / "pred", "b_2", masks.box(masks.scan(), slices=slice(2, 3)))
    matching = match_cases([cohort / "pred"], cohort / "ref")
    starts = {}
    for job in matching.jobs:
        example = load_example(job, matching.models, Scans(matching), EvaluationSettings())
        starts[job.case] = case_viewer(example).start
    assert starts == {"a_1": 1, "a_2": 1, "b_1": 1, "b_2": 2}


@pytest.mark.slow
def test_captions_lead_to_the_viewers_of_their_cases(report):
    html = report.read_text()
    targets = re.findall(r'<a href="#(viewer-\d+)">all slices</a>', html)
    assert len(targets) == 4
    assert sorted(targets) == sorted(re.findall(r'<section class="viewer" id="(viewer-\d+)"', html))
    assert "no lesion in the reference, predicted" in html
    assert "HD95 (mm) by volume, mean" in html
    assert "hd95_mm_mean" not in html


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        ((0.7124, 0.65, 0.77), "0.712 (0.650 to 0.770)"),
        ((9.574, 8.72, 10.4), "9.6 (8.7 to 10.4)"),
        ((-31.84, -43.7, -19.9), "−31.8 (−43.7 to −19.9)"),
        ((3.153, 1.2, 5.0), "3.15 (1.20 to 5.00)"),
        ((-0.0001, -0.2, 0.3), "0.000 (−0.200 to 0.300)"),
        ((148.2, 101.0, 1302.9), "148 (101 to 1303)"),
        ((0.5, None, None), "0.500 (one patient)"),
        ((None, None, None), "–"),
        ((float("nan"), 0.0, 1.0), "–"),
    ],
)
def test_a_number_and_its_interval_have_the_same_decimals(estimate, text):
    assert with_interval(dict(zip(("value", "low", "high"), estimate, strict=True))) == text


def test_no_case_is_shown_as_worst_and_best():
    rows = pd.DataFrame({"model": "m", "case": list("abcde"), "dice": [0.5, 0.1, 0.9, np.nan, 0.0]})
    rows["ref_ml"], rows["pred_ml"] = [1, 1, 1, 0, 0], [1, 1, 1, 0, 4]
    assert example_cases(rows, "m", 2) == {
        "Worst cases": ["b", "a"],
        "Best cases": ["c"],
        "Largest false positives": ["e"],
    }
