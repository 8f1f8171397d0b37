"""Time in two columns, as GDC and TCGA's clinical files have it: days to death, and days to the last follow-up."""

import math

from cropkt.data.patients.tables import Table, TableRow
from cropkt.data.study_yaml.columns import as_number
from cropkt.front.tables.column_names import called

DEATH = ("daystodeath", "deathdaysto")
LAST_FOLLOW_UP = ("daystolastfollowup", "lastcontactdaysto", "daystolastcontact", "daystolastknownalive")
"""What the names of such columns end with, without what is between their words."""
TOGETHER = "days_to_death_or_last_follow_up"


def is_part(name: str) -> bool:
    """Is it days from or to something, and so at most one of the two columns?"""
    plain = called(name)
    return "daysto" in plain or plain.endswith((*DEATH, *LAST_FOLLOW_UP))


def in_one_column(table: Table) -> tuple[Table, str] | None:
    """`table` with a column TOGETHER, days to death where there are any, else to the last follow-up, and how it was
    made; None where it has not one column of each kind."""
    deaths, lasts = (
        [name for name in table.columns if called(name).endswith(ends)] for ends in (DEATH, LAST_FOLLOW_UP)
    )
    if len(deaths) != 1 or len(lasts) != 1:
        return None
    (death,), (last,) = deaths, lasts
    rows = tuple(TableRow(row.row, row.cells | {TOGETHER: _time(row.cells, death, last)}) for row in table.rows)
    return Table((*table.columns, TOGETHER), rows), f"{death} where it is given, else {last}"


def _time(cells: dict[str, str], death: str, last: str) -> str:
    return cells[death] if math.isfinite(as_number(cells[death])) else cells[last]
