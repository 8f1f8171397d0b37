"""Which cohort a table is of: by its name, by a column that divides it, or as it is said."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cropkt.cohorts import COHORTS, RESERVED
from cropkt.data.patients.tables import Table
from cropkt.data.study_yaml.columns import is_missing
from cropkt.data.study_yaml.schema import NAME
from cropkt.errors import StudyError
from cropkt.front.tables.choosing import Chooser
from cropkt.front.tables.endpoint import words_of
from cropkt.front.tables.table_reading import InputTable

COHORT_NAMES = ("cohort", "project", "project_id", "cancer_type_acronym", "type", "tcga_project", "study", "disease")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
COHORT_OF_PROJECT = {project.lower(): info.code for info in COHORTS.values() for project in info.projects}
KNOWN = {**COHORT_OF_PROJECT, **{code: code for code in COHORTS}}
"""The registry's cohort of each code and TCGA project, in lower case."""


@dataclass(frozen=True)
class CohortTable:
    """A table of one cohort: the `code`, the name that stands for {cohort} in its path (`written`, "" where the path
    has none), and the `evidence`."""

    table: InputTable
    code: str
    written: str
    evidence: str

    @property
    def pattern(self) -> str:
        """The table's path with {cohort} for its name, as study.yaml writes it."""
        path = str(self.table.path.resolve()).replace("{", "{{").replace("}", "}}")
        return re.sub(_whole_word(self.written), "{cohort}", path) if self.written else path


@dataclass(frozen=True)
class DividedTable:
    """One table of several cohorts (`codes`), divided by `column`."""

    table: InputTable
    column: str
    codes: tuple[str, ...]


def divided(table: InputTable, chooser: Chooser) -> DividedTable | None:
    """`table` as one of several cohorts, if a column has values of at least two cohorts of the registry."""
    given = chooser.flag("cohort-column")
    if given is not None and given not in table.content.columns:
        there = ", ".join(table.content.columns[:20])
        raise StudyError(f"{table.path}: --cohort-column {given}: there is no such column; it has {there}")
    for column in [given] if given else _columns_called(table.content, COHORT_NAMES):
        codes = {known_cohort(value) for value in _values(table.content, column)}
        if None not in codes and (len(codes) > 1 or given):
            ordered = tuple(code for code in COHORTS if code in codes)
            return DividedTable(table, column, ordered)
        if given:
            some = ", ".join(_values(table.content, column)[:5])
            raise StudyError(
                f"{table.path}: column {column} names cohorts that are not of TCGA ({some}); give each "
                "cohort a table of its own"
            )
    return None


def cohort_of_table(table: InputTable, chooser: Chooser, *, alone: bool) -> CohortTable:
    """The cohort of a table that is not divided; `alone`: it is the only one. Raises StudyError for no good name."""
    if alone and (given := chooser.flag("cohort")) is not None:
        return CohortTable(table, _checked(given.lower(), table), "", "--cohort says so")
    for part, where in ((table.path.stem, "file"), (table.path.resolve().parent.name, "folder")):
        words = [word for word in re.split(r"[^A-Za-z0-9]+", part) if word.lower() in KNOWN]
        if len({KNOWN[word.lower()] for word in words}) == 1:
            evidence = f"the {where}'s name says {words[0]}"
            return CohortTable(table, words[0].lower(), words[0] if len(set(words)) == 1 else "", evidence)
    for column in _columns_called(table.content, COHORT_NAMES):
        codes = {known_cohort(value) for value in _values(table.content, column)}
        if len(codes) == 1 and None not in codes:
            (code,) = codes
            return CohortTable(table, str(code), "", f"column {column} says so")
    code = re.sub(r"[^a-z0-9._-]", "-", table.path.stem.lower()).strip("-.")
    evidence = "a cohort of your own, called as its file; --cohort NAME calls it otherwise"
    return CohortTable(table, _checked(code, table), table.path.stem if code == table.path.stem else "", evidence)


def joined(tables: Sequence[CohortTable]) -> list[CohortTable]:
    """`tables` with those of two or more projects of one cohort (kirc, kirp) under that cohort's code (kipan)."""
    present = {table.code for table in tables}
    partners: dict[str, set[str]] = {}
    for code in present:
        partners.setdefault(KNOWN.get(code, code), set()).add(code)
    together = {code for codes in partners.values() if len(codes) > 1 for code in codes}
    return [replace(table, code=KNOWN[table.code]) if table.code in together else table for table in tables]


def known_cohort(value: str) -> str | None:
    """The registry's cohort of a code or TCGA project, in any case and with or without "TCGA-"."""
    return KNOWN.get(value.lower().removeprefix("tcga-"))


def _checked(code: str, table: InputTable) -> str:
    if not re.fullmatch(NAME, code) or code in RESERVED:
        raise StudyError(f"{table.path}: {code!r} cannot be a cohort's name; rename the file, or say --cohort NAME")
    return code


def _columns_called(table: Table, wanted: Sequence[str]) -> list[str]:
    return [name for name in table.columns if "_".join(words_of(name)) in wanted]


def _values(table: Table, column: str) -> list[str]:
    return list(dict.fromkeys(row.cells[column] for row in table.rows if not is_missing(row.cells[column])))


def _whole_word(word: str) -> str:
    return rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])"


def tables_in(paths: Sequence[Path]) -> list[Path]:
    """`paths`, a folder standing for the tables in it."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else []
        found += [file for file in inside if file.suffix in TABLE_SUFFIXES] or [path]
    return list(dict.fromkeys(found))
