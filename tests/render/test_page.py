"""The page builder."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from ctseg.render.page import Page, Picture, format_cell, is_page
from ctseg.render.plots import new_figure
from ctseg.render.png import png_bytes


def test_hostile_names_are_text(tmp_path):
    page = Page("<script>alert(1)</script>", "a & b").add_table(["<b>"], [["<img src=x>"]]).add_preformatted("<pre>")
    html = page.add_list(["</ul><script>"]).html()
    assert "<script>alert" not in html
    assert "<img src=x>" not in html
    assert "&lt;img src=x&gt;" in html


def test_page_writes_every_kind_of_block(tmp_path):
    figure, axes = new_figure()
    axes.plot([0, 1])
    page = Page("Title").add_heading("One").add_text("words").add_warning("careful").add_figure(figure, "drawn")
    page.add_gallery([Picture(b"png", "caption", "what it shows")]).add_legend([("#123456", "name")])
    page.add_table(["a", "b"], [["x", 1.23456], ["y", None]], "rows", folded=True)
    html = page.write(tmp_path / "page.html").read_text()
    for text in (
        "<h1>Title",
        "words",
        "careful",
        "drawn",
        "caption",
        "what it shows",
        "#123456",
        "1.23",
        "–",
        "<details>",
    ):
        assert text in html
    encoded = re.search(r'<img src="data:image/png;base64,([^"]*)" alt="drawn"', html)
    assert base64.b64decode(encoded[1]).startswith(b"\x89PNG")


def test_links_lead_beside_the_page_and_no_name_breaks_out(tmp_path):
    html = Page("Title").add_links([("evaluation/report.html", "all"), ('a b"><script>.html', "<odd>")]).html()
    assert '<a href="evaluation/report.html">all</a>' in html
    assert '<a href="a%20b%22%3E%3Cscript%3E.html">&lt;odd&gt;</a>' in html


def test_wide_pictures_keep_their_size_on_a_phone():
    wide, square = (png_bytes(np.zeros((10, width), np.uint8)) for width in (30, 10))
    html = Page("Title").add_gallery([Picture(wide), Picture(square), Picture(b"png")]).html()
    assert html.count('<figure class="wide">') == 1
    assert html.count("<figure>") == 2


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "–"), (float("nan"), "–"), (0.12345, "0.123"), (-12.3, "−12.3"), (12345.6, "12346"), (3, "3"), ("x", "x")],
)
def test_cells(cell, text):
    assert format_cell(cell) == text


def css(media: str = "") -> dict[str, str]:
    """Selector -> declarations of the page's style, or of what an `@media` changes."""
    style = re.search("<style>(.*?)</style>", Page("x").html(), re.DOTALL)
    assert style is not None
    text = style[1]
    if media:
        text = re.search(rf"@media {media} {{\n(.*?)\n}}", text, re.DOTALL)[1]  # type: ignore[index]
    rules = re.findall(r"^ *([^@{}]+?) {([^{}]*)}", text, re.MULTILINE)
    pairs = [(one.strip(), words) for names, words in rules for one in names.split(",")]
    return {name: " ".join(words for one, words in pairs if one == name) for name, _ in pairs}


def test_nothing_of_a_page_is_lost_in_print() -> None:
    printed = css("print")
    assert "visible" in printed[".scroll"]  # wide tables had been cut off at the edge of the paper
    assert "content-visibility: visible" in printed["details::details-content"]  # all cases had been left out
    assert "pre-wrap" in printed["pre"]
    assert "break-after: avoid" in printed["h2"]
    assert "table" not in printed or "break-inside" not in printed["table"]  # a long one left its first page empty


@pytest.mark.parametrize("place", ["p", "li", "h1", "figcaption"])
def test_long_names_do_not_run_over_what_is_beside_them(place: str) -> None:
    assert "overflow-wrap: anywhere" in css()[place]


def test_only_pages_of_ctseg_are_known_as_its_own(tmp_path: Path) -> None:
    assert is_page(Page("x" * 5000).add_text("b").write(tmp_path / "a.html"))
    (tmp_path / "letter.html").write_text("<!doctype html>\n<title>mine</title>")
    assert not is_page(tmp_path / "letter.html")
