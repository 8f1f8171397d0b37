"""The pieces that sections and pages are made of. Nothing fetches anything: pictures are data URIs."""

import base64
import html
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd
from PIL import Image

COLOURS = 64
"""Colours left of a picture, so that dozens of them fit into a page."""
WIDEST = 1600
"""Pixels across a picture in a page; the files beside it have all of them."""
NOTHING = "\N{EN DASH}"
STYLE = """<style>
body { margin: 0 auto; max-width: 1100px; padding: 0 1.5rem 4rem; color: #1f2328; }
body { font: 16px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .6rem; border-bottom: 1px solid #d0d7de; text-align: right; }
td.text, tbody th, th:first-child { text-align: left; }
tbody th { font-weight: 400; }
.scroll { overflow-x: auto; }
figure { margin: 1rem 0; }
figcaption { color: #57606a; font-size: .9rem; }
img { max-width: 100%; height: auto; }
</style>"""


def paragraphs(sentences: Sequence[str]) -> list[str]:
    """One <p> per sentence."""
    return [f"<p>{html.escape(sentence)}</p>" for sentence in sentences]


def figure(path: Path, title: str, caption: str = "") -> str:
    """The picture at `path` (.png), with `title` for those who do not see it and a caption below."""
    content = base64.b64encode(_few_colours(path)).decode()
    told = f"<b>{html.escape(title)}.</b> {html.escape(caption)}" if caption else html.escape(title)
    return (
        f'<figure><div class="scroll" tabindex="0"><img alt="{html.escape(title)}" '
        f'src="data:image/png;base64,{content}"></div>'
        f"<figcaption>{told}</figcaption></figure>"
    )


def folded(summary: str, note: str, *content: str) -> str:
    """`content` behind a line to click on, with a note above it."""
    told = f'<p class="hint">{html.escape(note)}</p>' if note else ""
    return f"<details><summary>{html.escape(summary)}</summary>{told}{''.join(content)}</details>"


def table(rows: pd.DataFrame, columns: Sequence[str] = (), *, names: Mapping[str, str] | None = None) -> str:
    """`columns` of `rows` (default: all), the first one naming its row; `names` says what columns are called."""
    columns = list(columns) or list(rows.columns)
    if rows.empty:
        return "<p>Models or predictions are not in the results folder.</p>"
    called = ((names or {}).get(name, str(name).replace("_", " ")) for name in columns)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in called)
    body = []
    for first, *others in rows[columns].itertuples(index=False, name=None):
        cells = "".join(
            f"<td{_text(value)}>{html.escape(shown(value, probability=str(name).startswith(('p_', 'q_'))))}</td>"
            for name, value in zip(columns[1:], others, strict=True)
        )
        body.append(f'<tr><th scope="row">{html.escape(shown(first))}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table class="numbers"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def page(title: str, parts: Sequence[str]) -> str:
    """A page of its own with `parts` (HTML) below its title."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>{STYLE}</head><body>",
            f"<h1>{html.escape(title)}</h1>",
            *parts,
            "</body></html>\n",
        ]
    )


def shown(value: object, *, probability: bool = False) -> str:
    """A value as a cell has it: three decimals, fewer for large numbers, a dash where there is none."""
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return NOTHING
    if probability and value < 0.001:
        return "< 0.001"
    return f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"


def _text(value: object) -> str:
    return ' class="text"' if isinstance(value, str) else ""


def _few_colours(path: Path) -> bytes:
    stored = BytesIO()
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((WIDEST, 4 * WIDEST))
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(stored, "png", optimize=True)
    return stored.getvalue()
