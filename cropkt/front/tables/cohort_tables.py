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
from cropkt.front.choosing import Chooser
from cropkt.front.tables.column_names import is_called
from cropkt.front.tables.table_reading import InputTable, read_input_table

COHORT_NAMES = (
    *("cohort", "project", "project_id", "project_project_id", "cancer_type_acronym", "type", "tcga_project", "study"),
    *("tcga_pan_can_atlas_cancer_type_acronym", "disease", "study_id"),
)
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
ALSO_ENGLISH = frozenset(["read"])
"""A project that folders are called as for other reasons."""
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
    """One table of several cohorts (`codes`), divided by `column`; `others` are values of no cohort of the registry,
    whose rows are passed over."""

    table: InputTable
    column: str
    codes: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What is told of it."""
        passed = f"; passed over, as no cohort of the registry: {', '.join(self.others[:5])}" if self.others else ""
        return f"{self.table.path.name}: {len(self.codes)} cohorts, divided by column {self.column}{passed}"


def divided(table: InputTable, chooser: Chooser) -> DividedTable | None:
    """`table` as one of several cohorts, if a column has values of at least two cohorts of the registry, and most."""
    given = chooser.flag("cohort-column")
    if given is None and chooser.flag("cohort") is not None:
        return None
    if given is not None and given not in table.content.columns:
        there = ", ".join(table.content.columns[:20])
        raise StudyError(f"{table.path}: --cohort-column {given}: there is no such column; it has {there}")
    for column in [given] if given else _columns_called(table.content, COHORT_NAMES):
        values = _values(table.content, column)
        codes = {known_cohort(value) for value in values} - {None}
        others = tuple(value for value in values if known_cohort(value) is None)
        if 2 * len(others) < len(values) and (len(codes) > 1 or given):
            ordered = tuple(code for code in COHORTS if code in codes)
            return DividedTable(table, column, ordered, others)
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
    of_file, of_folder = (
        _named_cohort(table, part, where)
        for part, where in ((table.path.stem, "file"), (table.path.resolve().parent.name, "folder"))
    )
    return of_file or _cohort_in_column(table) or of_folder or _own_cohort(table)


def _named_cohort(table: InputTable, name: str, where: str) -> CohortTable | None:
    """The cohort that the `name` of a file or folder says, if it says one."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word.lower() in KNOWN]
    if where == "folder" and "tcga" not in name.lower():
        words = [word for word in words if word not in ALSO_ENGLISH]
    if len({KNOWN[word.lower()] for word in words}) != 1:
        return None
    evidence = f"the {where}'s name says {words[0]}"
    return CohortTable(table, words[0].lower(), words[0] if len(set(words)) == 1 else "", evidence)


def _cohort_in_column(table: InputTable) -> CohortTable | None:
    """The cohort that a column names in every row."""
    for column in _columns_called(table.content, COHORT_NAMES):
        codes = {_cohort_in(value) for value in _values(table.content, column)}
        if len(codes) == 1 and None not in codes:
            (code,) = codes
            return CohortTable(table, str(code), "", f"column {column} says so")
    return None


def _own_cohort(table: InputTable) -> CohortTable:
    """A cohort that is none of the registry's, called as its file."""
    code = re.sub(r"[^a-z0-9._-]", "-", table.path.stem.lower()).strip("-.")
    code = f"{code}-cohort" if code in RESERVED else code
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


def _cohort_in(value: str) -> str | None:
    """The registry's cohort of a code, a project, or a study's id such as brca_tcga_pan_can_atlas_2018."""
    codes = {KNOWN[word] for word in re.split(r"[^a-z0-9]+", value.lower()) if word in KNOWN}
    return codes.pop() if len(codes) == 1 else None


def _checked(code: str, table: InputTable) -> str:
    if not re.fullmatch(NAME, code) or code in RESERVED:
        raise StudyError(f"{table.path}: {code!r} cannot be a cohort's name; rename the file, or say --cohort NAME")
    return code


def _columns_called(table: Table, wanted: Sequence[str]) -> list[str]:
    return [name for name in table.columns if is_called(name, wanted)]


def _values(table: Table, column: str) -> list[str]:
    return list(dict.fromkeys(row.cells[column] for row in table.rows if not is_missing(row.cells[column])))


def _whole_word(word: str) -> str:
    return rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])"


def read_tables(paths: Sequence[Path]) -> tuple[list[InputTable], list[str]]:
    """The tables in `paths`, and a line for each that is passed over; a folder stands for the tables in it.

    Of a folder as cBioPortal has them only the clinical tables are meant; what cannot be read in a folder is passed
    over. Raises StudyError for a path that names no table.
    """
    tables: dict[Path, InputTable] = {}
    notes = []
    for path in dict.fromkeys(paths):
        if not path.is_dir():
            tables[path] = read_input_table(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if file.suffix.lower() in TABLE_SUFFIXES]
        clinical = [file for file in inside if file.name.startswith("data_clinical")]
        before = len(tables)
        for file in clinical or inside:
            try:
                tables[file] = read_input_table(file)
            except StudyError as error:
                notes.append(f"passed over: {error}")
        if len(tables) == before:
            raise StudyError(f"{path}: no table in it can be read; {'; '.join(notes) or 'name the clinical table'}")
    return list(tables.values()), notes
