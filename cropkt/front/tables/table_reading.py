"""What the columns of a clinical table are: patient, slide, endpoint and the rest, each with the evidence for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cropkt.data.patients.tables import Table, TableRow, read_table
from cropkt.data.persons import patient_id, person_of, tissue_source_site
from cropkt.data.slide_files.slide_names import is_plain_name
from cropkt.data.study_yaml.columns import Columns, as_number, is_missing
from cropkt.data.text_files import TextFileError
from cropkt.errors import StudyError
from cropkt.front.choosing import Chooser, Reading
from cropkt.front.slides.match import SlideNames
from cropkt.front.tables.column_names import called
from cropkt.front.tables.dates import from_dates
from cropkt.front.tables.endpoint import Endpoint, cells_of, events_in, has_endpoint, has_time, read_endpoint
from cropkt.front.tables.follow_up import in_one_column

LOOKED_AT = 20
"""Cells of a column that are looked at first, as tables may have thousands of columns."""
PATIENT_NAMES = (
    *("patient_id", "patient", "case_id", "case", "submitter_id", "case_submitter_id", "cases_submitter_id"),
    *("bcr_patient_barcode", "patient_barcode", "patient_number", "patient_no", "subject_id", "subject", "pid", "id"),
    *("study_number", "sample_id", "sample", "barcode"),
)
SLIDE_NAMES = (
    *("slide_id", "pathology_id", "slide", "slide_name", "filename", "file_name", "file", "slide_submitter_id"),
    *("image_id", "image", "wsi", "wsi_id", "slide_path", "slide_file", "slide_filename", "file_path", "path", "svs"),
)
PROJECT_NAMES = ("project", "project_id", "project_project_id", "tcga_project")
SITE_NAMES = ("site", "tissue_source_site", "tissue_source_site_code", "tss", "hospital", "center", "centre")
CLINICAL_NAMES = (
    *("age", "age_at_diagnosis", "age_at_initial_pathologic_diagnosis", "sex", "gender", "is_female", "stage"),
    *("ajcc_pathologic_tumor_stage", "ajcc_pathologic_stage", "pathologic_stage", "tumor_stage", "grade"),
    *("histological_grade", "tumor_grade", "neoplasm_histologic_grade"),
)
"""Columns by their names in lower case, words joined by _, in the order of preference."""


@dataclass(frozen=True)
class InputTable:
    """A table that was named: its path as given, and its content; `made` says how a column of it was made."""

    path: Path
    content: Table
    made: str = ""


@dataclass(frozen=True)
class TableReading:
    """What the columns of a table are, and a line of evidence for each key of study.yaml's `columns`."""

    columns: Columns
    evidence: dict[str, str]


def read_input_table(path: Path) -> InputTable:
    """Read a table. Raises StudyError with the reason where it cannot be read or holds nothing."""
    try:
        content = read_table(path)
    except FileNotFoundError as error:
        raise StudyError(f"{path}: there is no such file; name a table of patients with time and event") from error
    except TextFileError as error:
        raise StudyError(f"{path}: {error}") from error
    if not content.rows:
        raise StudyError(f"{path}: holds no rows; name a table of patients with time and event")
    named = [name for name in content.columns if name]
    if 2 * len(named) < len(content.columns):
        raise StudyError(
            f"{path}: its first line is {', '.join(named)!r}; remove what is above the names of the columns"
        )
    rows = _without_second_header(content)
    made = "the rows of names and CDE_IDs below its header are passed over" if rows != content.rows else ""
    return InputTable(path, Table(content.columns, rows), made)


def _without_second_header(table: Table) -> tuple[TableRow, ...]:
    """The rows of `table`; those of GDC's biospecimen tables without the two that repeat and number the header."""
    numbered = next((n for n, row in enumerate(table.rows[:2]) if _numbers_a_header(row)), None)
    return table.rows if numbered is None else table.rows[numbered + 1 :]


def _numbers_a_header(row: TableRow) -> bool:
    return any(cell.startswith("CDE_ID:") for cell in row.cells.values())


def with_time(table: InputTable, chooser: Chooser) -> InputTable:
    """`table` with time in one column, where it is in two and no other column holds it."""
    if chooser.flag("time") is not None or has_time(table.content, chooser):
        return table
    together = in_one_column(table.content)
    if together is None:
        has_event = bool(events_in(table.content, chooser))
        try:
            together = from_dates(table.content, chooser, has_event=has_event)
        except StudyError as error:
            raise StudyError(f"{table.path}: {error}") from error
    return table if together is None else replace(table, content=together[0], made=_how(table, together[1]))


def _how(table: InputTable, how: str) -> str:
    return f"{table.made}; time is {how}" if table.made else f"time is {how}"


def is_slide_table(table: InputTable, names: SlideNames, chooser: Chooser) -> bool:
    """Does `table` only say whose each slide is, as STAMP's slide table?"""
    has_slides = bool(_slide(table.content, names, chooser))
    return has_slides and not has_endpoint(table.content, chooser)


def read_columns_of(table: InputTable, names: SlideNames, chooser: Chooser) -> TableReading:
    """The columns of `table`, held against the slides of `names`. Raises StudyError where one is not to be found."""
    content = table.content
    try:
        patient = patient_column(content, names, chooser)
        endpoint = read_endpoint(content, chooser)
    except StudyError as error:
        raise StudyError(f"{table.path}: {error}") from error
    slide = _slide(content, names, chooser)
    if (
        slide is not None
        and chooser.flag("slide") is None
        and _names_too_few(content, slide.value, patient.value, names)
    ):
        slide = None
    project = next((name for name in _named(content, PROJECT_NAMES) if _is_project(content, name)), None)
    site = next(iter(_named(content, SITE_NAMES)), None)
    clinical = _clinical(content, chooser)
    columns = Columns(
        patient.value,
        slide.value if slide else None,
        endpoint.time,
        endpoint.event,
        project,
        site,
        None,
        clinical,
    )
    return TableReading(columns, _evidence(patient, slide, endpoint))


def patient_column(table: Table, names: SlideNames, chooser: Chooser) -> Reading:
    """The column of patient ids: by its name, and by how many of its ids slides' names begin with."""
    if (given := chooser.flag("patient")) is not None:
        return chooser.choose("the patient", "patient", [Reading(name, name, "") for name in table.columns if given])
    named = _named(table, PATIENT_NAMES)
    slide = _slide(table, names, chooser)
    if not named and slide is not None and all(map(tissue_source_site, cells_of(table, slide.value))):
        return Reading(slide.value, slide.value, "the barcodes of its slides begin with the patient")
    if not named:
        some = ", ".join(table.columns[:20])
        raise StudyError(f"no column of patients is known by its name (it has {some}); name it: --patient COLUMN")
    found = {name: _share(table, name, names) for name in named}
    best = max(share for share, _ in found.values())
    fitting = [name for name in named if found[name][0] == best and found[name][0] > 0] or named
    people = {name: _people(table, name, names) for name in fitting}
    different = [name for turn, name in enumerate(fitting) if people[name] not in [people[n] for n in fitting[:turn]]]
    if best == 0:  # a slide table or a slide column may say whose the slides are
        different = different[:1]
    return chooser.choose("the patient", "patient", [Reading(name, name, found[name][1]) for name in different])


def _share(table: Table, column: str, names: SlideNames) -> tuple[float, str]:
    """The part of a column's ids that have slides, and that in words."""
    ids = list(dict.fromkeys(cells_of(table, column)))
    fitting = sum(bool(names.of_patient(id_)) for id_ in ids)
    return fitting / max(len(ids), 1), f"{fitting} of its {len(ids)} ids begin names of slides"


def _people(table: Table, column: str, names: SlideNames) -> tuple[str, ...]:
    return tuple(person_of(patient_id(row.cells[column], names.rule)) for row in table.rows)


def slide_column(table: Table, names: SlideNames, chooser: Chooser) -> Reading | None:
    """The column whose values are names of slides that have files; None where there is none."""
    return _slide(table, names, chooser)


def _slide(table: Table, names: SlideNames, chooser: Chooser) -> Reading | None:
    if chooser.flag("slide") is not None:
        return chooser.choose("the slide", "slide", [Reading(name, name, "") for name in table.columns])
    known = _named(table, SLIDE_NAMES)
    counts = {name: sum(names.has_slide(cell) for cell in cells_of(table, name)) for name in known}
    if not any(counts.values()):
        counts = _columns_of_slides(table, names)
    best = max(counts.values(), default=0)
    if best == 0:
        return None
    name = next(name for name in counts if counts[name] == best)
    return Reading(name, name, f"{best} of its {len(cells_of(table, name))} names have files")


def _columns_of_slides(table: Table, names: SlideNames) -> dict[str, int]:
    """Columns, whatever they are called, most of whose values name slides that have files, and how many do."""
    counts = {}
    patients = _named(table, PATIENT_NAMES)
    for name in table.columns:
        cells = cells_of(table, name)
        if name in patients or not any(names.has_slide(cell) for cell in cells[:LOOKED_AT]):
            continue
        if any(math.isfinite(as_number(cell)) for cell in cells):  # a count or a code, where slides are numbered too
            continue
        if 2 * (count := sum(map(names.has_slide, cells))) > len(cells):
            counts[name] = count
    return counts


def _names_too_few(table: Table, slide: str, patient: str, names: SlideNames) -> bool:
    """Has the column of slides files for fewer than half of the patients whose ids slides' names begin with?"""
    by_column = {row.cells[patient] for row in table.rows if names.has_slide(row.cells[slide])}
    by_id = {row.cells[patient] for row in table.rows if names.of_patient(row.cells[patient])}
    return 2 * len(by_column) < len(by_id)


def _named(table: Table, wanted: Sequence[str]) -> list[str]:
    """Columns of `table` called as one of `wanted`, in the order of `wanted`."""
    by_words = {called(name): name for name in reversed(table.columns) if name}
    found = [by_words[plain] for plain in (name.replace("_", "") for name in wanted) if plain in by_words]
    return list(dict.fromkeys(found))


def _is_project(table: Table, column: str) -> bool:
    cells = [row.cells[column] for row in table.rows]
    return all(cell and not is_missing(cell) and is_plain_name(cell) for cell in cells) and len(set(cells)) <= 40


def _clinical(table: Table, chooser: Chooser) -> tuple[str, ...]:
    if (given := chooser.flag("clinical")) is not None:
        for name in given:
            if name not in table.columns:
                raise StudyError(f"--clinical {name}: there is no such column; it has {', '.join(table.columns[:20])}")
        return tuple(given)
    return tuple(_named(table, CLINICAL_NAMES))


def _evidence(patient: Reading, slide: Reading | None, endpoint: Endpoint) -> dict[str, str]:
    return {
        "patient": patient.evidence,
        "slide": slide.evidence
        if slide
        else "no column names their slides: a slide is the patient's whose id its name begins with",
        "endpoint": endpoint.why_pair,
        "time": endpoint.why_unit,
        "event": endpoint.why_coding,
    }
