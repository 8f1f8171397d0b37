"""Pictures are written for a journal, and pieces of HTML show what tables hold."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cropkt.report.html import figure, folded, table
from cropkt.report.style import DPI, TWO_COLUMNS, new_figure, save_figure, styled


@styled
def drawn() -> tuple[matplotlib.figure.Figure, float]:
    made, (axes,) = new_figure(2)
    axes.plot([0, 1], [0, 1])
    axes.set_xlabel("C-index <0.5>")
    return made, matplotlib.rcParams["font.size"]


def test_a_picture_is_png_pdf_and_svg_at_the_width_of_two_columns_and_the_same_bytes_again(tmp_path: Path) -> None:
    once, again = (save_figure(tmp_path / name / "x.png", drawn()[0]) for name in ("once", "again"))
    with Image.open(once) as picture:
        assert picture.size == (int(TWO_COLUMNS * DPI), 2 * DPI)
        assert picture.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert once.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert "C-index &lt;0.5&gt;</text>" in once.with_suffix(".svg").read_text(), "text stays text"
    for kind in (".png", ".pdf", ".svg"):
        assert once.with_suffix(kind).read_bytes() == again.with_suffix(kind).read_bytes(), kind


def test_the_style_stays_inside() -> None:
    before = dict(matplotlib.rcParams)
    assert drawn()[1] == 7.0
    assert dict(matplotlib.rcParams) == before


def test_a_table_shows_numbers_as_they_are_read() -> None:
    rows = pd.DataFrame({"label": ["a<b"], "p_value": [0.0001], "events": [12], "effect": [np.nan], "days": [1234.5]})
    made = table(rows, names={"label": "factor"})
    cells = ["<td>&lt; 0.001</td>", "<td>12</td>", "<td>\N{EN DASH}</td>", "<td>1234</td>"]
    assert "".join(cells) in made
    assert '<th scope="row">a&lt;b</th>' in made
    assert '<th scope="col">factor</th><th scope="col">p value</th>' in made
    assert "not in the results folder" in table(rows.iloc[:0])


def test_pieces_escape_what_they_are_given_and_fetch_nothing(tmp_path: Path) -> None:
    made = figure(save_figure(tmp_path / "x.png", drawn()[0]), "a<b", "c & d") + folded("e<f", "g", "<p>h</p>")
    for piece in ('alt="a&lt;b"', "c &amp; d", "<summary>e&lt;f</summary>", "<p>h</p>", "data:image/png;base64,"):
        assert piece in made
    assert "http" not in made
