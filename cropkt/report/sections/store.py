"""Sections that analyses of a sweep add to its report: an analysis stores one, the page shows those that are there."""

import html
import re
from dataclasses import dataclass
from pathlib import Path

from cropkt.files import atomic_path, digest
from cropkt.report.read import ResultTables, read_tables
from cropkt.transfer.store import ResultsFolder

SECTIONS = {"factors": "Factors", "routing": "Routing"}
"""Sections a report may have besides its own, in the order of the page, and their names in its navigation."""


@dataclass(frozen=True)
class Section:
    """A stored section. outdated: whether pairs were measured anew since it was made."""

    name: str
    link: str
    head: str
    body: str
    outdated: bool


def parts_folder(folder: ResultsFolder) -> Path:
    """Where it is kept what report.html shows of one encoder and architecture besides the tables."""
    return folder.out / "report" / folder.encoder / folder.architecture


def section_path(folder: ResultsFolder, name: str) -> Path:
    """Where the section `name` is stored."""
    return parts_folder(folder) / f"{name}.html"


def store_section(folder: ResultsFolder, name: str, title: str, body: str) -> Path:
    """Store a section for the report; returns its path. The page shows it when it is next written.

    name: one of SECTIONS, also the element's id and the page's address of it (report.html#NAME). title: plain text.
    body: HTML that fetches nothing, images as data URIs; its ids begin with `name`. Raises InputError as read_tables.
    """
    if name not in SECTIONS:
        raise ValueError(f"no section {name}; there are {', '.join(SECTIONS)}")
    made_from = _measured(read_tables(folder))
    path = section_path(folder, name)
    with atomic_path(path) as temporary:
        temporary.write_text(
            f'<section id="{name}" class="added" aria-labelledby="{name}-title" data-results="{made_from}">\n'
            f'<h2 id="{name}-title">{html.escape(title)}</h2>\n{body}\n</section>\n',
            encoding="utf-8",
        )
    return path


def read_sections(folder: ResultsFolder, tables: ResultTables) -> list[Section]:
    """The sections that are stored, in the order of SECTIONS."""
    now = _measured(tables)
    found = []
    for name, link in SECTIONS.items():
        path = section_path(folder, name)
        if not path.is_file():
            continue
        head, end, body = path.read_text(encoding="utf-8").partition("</h2>")
        made_from = re.search(r'data-results="(\w+)"', head)
        found.append(Section(name, link, head + end, body, outdated=made_from is None or made_from[1] != now))
    return found


def _measured(tables: ResultTables) -> str:
    """Changes when a pair is measured anew and comes out different."""
    return digest(tables.codes, tables.pairs["c_index_pooled"].astype(float).tolist())
