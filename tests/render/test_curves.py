"""Curves of a training."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from ctseg.render.curves import TITLES, curves, curves_png


def test_curves_need_a_number_in_two_rows(tmp_path: Path) -> None:
    assert curves_png(tmp_path / "c.png", [{"epoch": 0, "loss": 1.0}]) is None
    rows = [{"epoch": epoch, "loss": 1.0, "warnings": ["x"], "once": 1.0} for epoch in range(2)]
    rows[1].pop("once")
    assert curves_png(tmp_path / "c.png", rows) == tmp_path / "c.png"
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_a_curve_has_its_points_its_ends_and_its_name() -> None:
    rows = [{"epoch": epoch, "loss": value} for epoch, value in enumerate([4.0, 1.0, 2.5])]
    axes = curves(["loss"], [*rows, {"epoch": 3}]).axes[0]
    assert axes.get_title() == "loss"
    assert axes.lines[0].get_xydata().tolist() == [[1, 4], [2, 1], [3, 2.5]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "3"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1", "4"]


def test_losses_have_the_names_of_the_method() -> None:
    rows = [{"epoch": epoch, "gan_ct": 1.0, "val_source_val": 0.5} for epoch in range(2)]
    figure = curves(["gan_ct", "val_source_val"], rows)
    assert [axes.get_title() for axes in figure.axes] == ["adversarial, pseudo-CT", "Dice on labelled source, val"]
    assert "epoch" in [text.get_text() for text in figure.axes[0].texts]
    renderer = FigureCanvasAgg(figure).get_renderer()
    for name in TITLES:  # each fits above its plot
        one = curves([name] * 4, [{"epoch": 0, name: 1.0}])
        FigureCanvasAgg(one)
        ends = one.axes[3].title.get_window_extent(renderer)
        assert ends.x0 > 3 * 270 * one.dpi / 100 - 30, name
        assert ends.x1 < one.bbox.x1, name


def test_curves_stand_four_in_a_row_in_a_page_of_whole_rows(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, **{f"loss{n}": float(epoch) for n in range(5)}} for epoch in range(2)]
    curves_png(tmp_path / "c.png", rows)
    assert Image.open(tmp_path / "c.png").size == (1080, 300)
    curves_png(tmp_path / "c.png", [{"epoch": row["epoch"], "loss": row["loss1"]} for row in rows])
    assert Image.open(tmp_path / "c.png").size == (270, 150)


def test_values_that_are_not_finite_do_not_stop_the_curves(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "loss": value, "gone": float("nan")} for epoch, value in enumerate([1.0, float("nan")])]
    assert curves_png(tmp_path / "c.png", rows) is not None
