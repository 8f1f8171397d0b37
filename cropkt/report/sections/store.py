"""Sections that analyses of a sweep add to its report: an analysis stores one, the page shows those that are there."""

import html
import re
from dataclasses import dataclass
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.files import atomic_path, digest
from cropkt.report.read import ResultTables, read_tables
from cropkt.transfer.store import ResultsFolder

FIRST = ("factors", "routing")
"""Sections that come first, in this order; others follow by name."""
TAKEN = ("headline", "matrix", "target", "methods", "tables", "pair", "data", "controls", "key", "cursor", "readout")
"""Ids of the page itself."""


@dataclass(frozen=True)
class Section:
    """A stored section. outdated: whether pairs were measured anew since it was made."""

    name: str
    link: str
    head: str
    body: str
    outdated: bool


def parts_folder(results: ResultsFolder) -> Path:
    """Where it is kept what report.html shows of one encoder and architecture besides the tables."""
    return results.out / "report" / results.encoder / results.architecture


def section_path(results: ResultsFolder, name: str) -> Path:
    """Where the section `name` is stored."""
    return parts_folder(results) / f"{name}.html"


def store_section(results: ResultsFolder, name: str, title: str, body: str, *, link: str = "") -> Path:
    """Store a section for the report; returns its path. The page shows it when it is next written.

    name: the element's id and the page's address of it (report.html#NAME). title: plain text, and so is `link`, its
    name in the navigation (default: the title). body: HTML that fetches nothing, images as data URIs; its ids begin
    with `name`. Raises ConfigError for a name that is no id, or one of the page's own, and InputError as read_tables.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in TAKEN:
        raise ConfigError(f"a section cannot be called {name!r}; use small letters, and none of {', '.join(TAKEN)}")
    made_from = _measured(read_tables(results))
    path = section_path(results, name)
    with atomic_path(path) as temporary:
        temporary.write_text(
            f'<section id="{name}" class="added" aria-labelledby="{name}-title" data-results="{made_from}" '
            f'data-link="{html.escape(link or title)}">\n'
            f'<h2 id="{name}-title">{html.escape(title)}</h2>\n{body}\n</section>\n',
            encoding="utf-8",
        )
    return path


def read_sections(results: ResultsFolder, tables: ResultTables) -> list[Section]:
    """The sections that are stored, those of FIRST before others."""
    now = _measured(tables)
    found = []
    names = sorted(path.stem for path in parts_folder(results).glob("*.html"))
    for name in sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        path = section_path(results, name)
        head, end, body = path.read_text(encoding="utf-8").partition("</h2>")
        made_from = re.search(r'data-results="(\w+)"', head)
        link = re.search(r'data-link="([^"]*)"', head)
        called = html.unescape(link[1]) if link else name
        found.append(Section(name, called, head + end, body, outdated=made_from is None or made_from[1] != now))
    return found


def _measured(tables: ResultTables) -> str:
    """Changes when a pair is measured anew and comes out different."""
    return digest(tables.codes, tables.pairs["c_index_pooled"].astype(float).tolist())
