"""How the named tables become the study's label tables: read where they are, or joined and written into the study."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cropkt.cohorts import cohort_info, in_registry_order
from cropkt.data.faults import Faults
from cropkt.data.patients.labels import LabelRow, LabelSource, read_cohort_labels
from cropkt.data.persons import patient_id, person_of
from cropkt.data.study_yaml.columns import Columns, is_missing
from cropkt.errors import StudyError
from cropkt.files import atomic_path
from cropkt.front.choosing import Chooser
from cropkt.front.slides.match import Match, SlideNames, match
from cropkt.front.tables.cohort_tables import CohortTable, DividedTable, cohort_of_table, divided, joined, known_cohort
from cropkt.front.tables.endpoint import has_endpoint
from cropkt.front.tables.table_reading import (
    InputTable,
    TableReading,
    is_slide_table,
    patient_column,
    read_columns_of,
    slide_column,
    with_time,
)

FOLDER = "labels"
SHOWN_TABLES = 4


@dataclass(frozen=True)
class StudyLabels:
    """What study.yaml says of labels, `matches` by cohort, patients without time or event, and how it was found."""

    patterns: tuple[str, ...]
    columns: Columns | None
    cohorts: dict[str, tuple[str, ...]]
    matches: dict[str, Match]
    incomplete: int
    evidence: dict[str, str]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """One table with its columns."""

    table: InputTable
    reading: TableReading


def read_labels_of(tables: Sequence[InputTable], names: SlideNames, out: Path, chooser: Chooser) -> StudyLabels:
    """The labels in `tables` for the study in `out`. Raises StudyError where something can be read in no way, or two.

    Tables of one kind stay where they are. Tables that differ, or a table of slides beside one of patients, are written
    anew as `out`/labels/{cohort}.csv, in days and with 1 for an event.
    """
    tables = [with_time(table, chooser) for table in tables]
    slides = [table for table in tables if is_slide_table(table, names, chooser)]
    clinical, passed_over = _with_endpoint([table for table in tables if table not in slides], chooser)
    reads = [_Read(table, read_columns_of(table, names, chooser)) for table in clinical]
    if not reads:
        raise StudyError(f"{tables[0].path}: no table has columns of time and event; name the clinical table too")
    labels = _labels_of(reads, slides, names, out, chooser)
    return replace(labels, lines=(*labels.lines, *passed_over))


def _with_endpoint(tables: Sequence[InputTable], chooser: Chooser) -> tuple[list[InputTable], list[str]]:
    """The `tables` with times and events, and a line that names the others; all where none has."""
    having = [table for table in tables if _has_endpoint(table, chooser)]
    others = [table.path.name for table in tables if table not in having]
    if not having or not others:
        return list(tables), []
    named = f"{', '.join(others[:SHOWN_TABLES])}{', ...' if len(others) > SHOWN_TABLES else ''}"
    return having, [f"passed over, as no columns of time and event are known by their names: {named}"]


def _has_endpoint(table: InputTable, chooser: Chooser) -> bool:
    try:
        return has_endpoint(table.content, chooser)
    except StudyError:  # it lacks the column that a flag names
        return False


def _labels_of(
    reads: Sequence[_Read], slides: Sequence[InputTable], names: SlideNames, out: Path, chooser: Chooser
) -> StudyLabels:
    several = [divided(read.table, chooser) for read in reads]
    alone = len(reads) == 1
    listed = _listed_slides(slides, names, chooser) or _within_names(reads, names)
    made = any(read.table.made for read in reads) or bool(listed)
    if alone and several[0] is not None and not made:
        return _divided_in_place(reads[0], several[0], names)
    found = [None if several[n] else cohort_of_table(read.table, chooser, alone=alone) for n, read in enumerate(reads)]
    of_cohorts = joined([table for table in found if table is not None])
    columns = _one_mapping([read.reading.columns for read in reads])
    if made or columns is None or any(several) or not (alone or all(table.written for table in of_cohorts)):
        return _written(reads, several, of_cohorts, listed, names, out)
    return _in_place(reads, of_cohorts, columns, names)


def _one_mapping(columns: Sequence[Columns]) -> Columns | None:
    """The columns of all tables, if they are called and coded alike; only what all have of the optional ones."""
    first = columns[0]
    clinical = tuple(name for name in first.clinical if all(name in other.clinical for other in columns))
    project = first.project if len({one.project for one in columns}) == 1 else None
    site = first.site if len({one.site for one in columns}) == 1 else None
    cut = [replace(one, clinical=clinical, project=project, site=site) for one in columns]
    slide = first.slide if len({one.slide for one in cut}) == 1 else None
    if slide is None and any(one.slide for one in cut):
        return None
    codings = [replace(one, event=cut[0].event) for one in cut]
    events = {one.event.column for one in cut}
    event = replace(
        cut[0].event,
        event=tuple(dict.fromkeys(value for one in cut for value in one.event.event)),
        censored=tuple(dict.fromkeys(value for one in cut for value in one.event.censored)),
    )
    if len(set(codings)) > 1 or len(events) > 1 or set(event.event) & set(event.censored):
        return None
    return replace(cut[0], event=event)


def _divided_in_place(read: _Read, table: DividedTable, names: SlideNames) -> StudyLabels:
    columns = replace(read.reading.columns, cohort=table.column)
    rows: dict[str, list[dict[str, str]]] = {code: [] for code in table.codes}
    for row in read.table.content.rows:
        if (code := known_cohort(row.cells[table.column])) is not None:
            rows[code].append(row.cells)
    matches, incomplete = _matches(rows, dict.fromkeys(rows, columns), names)
    cohorts: dict[str, tuple[str, ...]] = {code: (code,) for code in table.codes}
    lines = [table.line]
    pattern = _literal(read.table.path)
    return StudyLabels((pattern,), columns, cohorts, matches, incomplete, read.reading.evidence, tuple(lines))


def _in_place(
    reads: Sequence[_Read], tables: Sequence[CohortTable], columns: Columns, names: SlideNames
) -> StudyLabels:
    rows: dict[str, list[dict[str, str]]] = {}
    cohorts: dict[str, tuple[str, ...]] = {}
    for read, table in zip(reads, tables, strict=True):
        rows.setdefault(table.code, []).extend(row.cells for row in read.table.content.rows)
        written = table.written if len(tables) > 1 else table.code
        cohorts[table.code] = tuple(dict.fromkeys((*cohorts.get(table.code, ()), written)))
    matches, incomplete = _matches(rows, dict.fromkeys(rows, columns), names)
    patterns = [table.pattern for table in tables] if len(tables) > 1 else [_literal(tables[0].table.path)]
    lines = _table_lines(tables)
    ordered = {code: cohorts[code] for code in in_registry_order(cohorts)}
    best = max(range(len(reads)), key=lambda n: matches[tables[n].code].with_slides)
    evidence = reads[best].reading.evidence
    return StudyLabels(tuple(dict.fromkeys(patterns)), columns, ordered, matches, incomplete, evidence, tuple(lines))


def _table_lines(tables: Sequence[CohortTable]) -> list[str]:
    first = tables[0]
    if len(tables) == 1:
        return [
            f"{first.table.path.name}: {len(first.table.content.rows)} rows, cohort {first.code} ({first.evidence})"
        ]
    codes = in_registry_order([table.code for table in tables])
    lines = [f"{len(tables)} tables of {len(codes)} cohorts, e.g. {first.table.path.name}: {first.evidence}"]
    of_code: dict[str, list[str]] = {}
    for table in tables:
        of_code.setdefault(table.code, []).append(table.written or table.table.path.name)
    return lines + [f"{' and '.join(parts)} are joined as {code}" for code, parts in of_code.items() if len(parts) > 1]


def _literal(path: Path) -> str:
    return str(path.resolve()).replace("{", "{{").replace("}", "}}")


def _matches(
    rows: dict[str, list[dict[str, str]]], columns: dict[str, Columns], names: SlideNames
) -> tuple[dict[str, Match], int]:
    """The match of each cohort, and how many patients lack time or event."""
    matches = {}
    lacking: set[str] = set()
    for code, of_cohort in rows.items():
        used = columns[code]
        named = [(cells[used.patient], cells[used.slide] if used.slide else "") for cells in of_cohort]
        people = [(patient_id(written, names.rule), slide) for written, slide in named if not is_missing(written)]
        matches[code] = match((person for person, _ in people), people if used.slide else None, names)
        for cells in of_cohort:
            if is_missing(cells[used.time.column]) or is_missing(cells[used.event.column]):
                lacking.add(person_of(cells[used.patient]))
    return matches, len(lacking)


def _written(
    reads: Sequence[_Read],
    several: Sequence[DividedTable | None],
    of_cohorts: Sequence[CohortTable],
    listed: dict[str, list[str]],
    names: SlideNames,
    out: Path,
) -> StudyLabels:
    """Label tables written into the study; rows without time or event are not in them. `listed`: slides by person."""
    undivided = iter(of_cohorts)
    rows: dict[str, list[LabelRow]] = {}
    incomplete = 0
    for read, table in zip(reads, several, strict=True):
        codes = table.codes if table else (next(undivided).code,)
        for code in codes:
            found, without = _rows(read, table.column if table else None, code)
            rows.setdefault(code, []).extend(found)
            incomplete += without
    matches = {}
    for code in in_registry_order(rows):
        with_slides = [slide for row in rows[code] for slide in _slides_of(row, listed, names)]
        people = [(row.patient, row.slide) for row in with_slides]
        matches[code] = match((person for person, _ in people), people, names)
        _write(out / FOLDER / f"{code}.csv", with_slides)
    lines = _table_lines(of_cohorts) if of_cohorts else []
    lines += [f"{read.table.path.name}: {_read_as(read.reading)}" for read in reads[:SHOWN_TABLES]]
    lines += [table.line for table in several if table is not None and table.others]
    lines += [f"{read.table.path.name}: {read.table.made}" for read in reads if read.table.made]
    for person, own in list(listed.items())[:1]:
        lines.append(f"whose slide it is: a table of slides says, or the id within its name: {own[0]} is {person}'s")
    lines.append(f"written anew as {FOLDER}/{{cohort}}.csv, in days, a row for each slide")
    cohorts: dict[str, tuple[str, ...]] = {code: (code,) for code in in_registry_order(rows)}
    evidence = {key: f"{read.table.path.name}: {why}" for read in reads for key, why in read.reading.evidence.items()}
    return StudyLabels((FOLDER + "/{cohort}.csv",), None, cohorts, matches, incomplete, evidence, tuple(lines))


def _read_as(reading: TableReading) -> str:
    columns, why = reading.columns, reading.evidence
    time = f"{columns.time.column} in {columns.time.unit} ({why['time']})"
    event = f"{columns.event.column}, event {' or '.join(columns.event.event)} ({why['event']})"
    return f"patient {columns.patient}; time {time}; {event}"


def _rows(read: _Read, divided_by: str | None, code: str) -> tuple[list[LabelRow], int]:
    faults = Faults("the clinical tables")
    columns = replace(read.reading.columns, cohort=divided_by)
    members = frozenset({code, *(project.lower() for project in _projects(code))})
    source = LabelSource(read.table.path, str(read.table.path), _project_of(code), members)
    table = read_cohort_labels([source], faults, leave_out=True, columns=columns, read=lambda _: read.table.content)
    faults.raise_any()
    return list(table.rows), len({row.patient for row in table.without_endpoint})


def _projects(code: str) -> tuple[str, ...]:
    return cohort_info(code).projects


def _project_of(code: str) -> str:
    projects = _projects(code)
    return projects[0] if len(projects) == 1 else code.upper()


def _listed_slides(tables: Sequence[InputTable], names: SlideNames, chooser: Chooser) -> dict[str, list[str]]:
    """By person, the slides that tables of slides list."""
    listed: dict[str, list[str]] = {}
    for table in tables:
        patient, slide = (
            patient_column(table.content, names, chooser).value,
            slide_column(table.content, names, chooser),
        )
        assert slide is not None
        for row in table.content.rows:
            listed.setdefault(person_of(patient_id(row.cells[patient], names.rule)), []).append(row.cells[slide.value])
    return listed


def _within_names(reads: Sequence[_Read], names: SlideNames) -> dict[str, list[str]]:
    """By person, the slides within whose names the id stands; none where names begin with ids, or a column has them."""
    ids = [row.cells[read.reading.columns.patient] for read in reads for row in read.table.content.rows]
    if any(read.reading.columns.slide for read in reads) or any(map(names.of_patient, ids)):
        return {}
    return names.holding(ids)


def _slides_of(row: LabelRow, listed: dict[str, list[str]], names: SlideNames) -> list[LabelRow]:
    """A row for each slide of the patient: those of the row, of the tables of slides, or by their names."""
    slides = [row.slide] if row.slide else listed.get(person_of(row.patient)) or names.of_patient(row.patient)
    return [replace(row, slide=slide) for slide in slides or [""]]


def _write(path: Path, rows: Sequence[LabelRow]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["patient_id", "pathology_id", "t", "e", "project"])
        written = ([row.patient, row.slide, f"{row.time:.10g}", row.event, row.project] for row in rows)
        writer.writerows(dict.fromkeys(map(tuple, written)))
