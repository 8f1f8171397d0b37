"""Rows of the tables that an outer fold of a routed target leaves behind."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from cropkt.transfer.columns import Column, Table, columns_of
from cropkt.transfer.rows import GATES


@dataclass(frozen=True)
class FoldPredictionRow:
    """One test patient of an outer fold by one method."""

    method: Annotated[str, Column("", "name of the method (docs/routing.md)")]
    patient_id: Annotated[str, Column("", "patient, as in the study's label table")]
    fold: Annotated[int, Column("", "outer fold that tests the patient")]
    time: Annotated[float, Column("days", "time to the event or to censoring")]
    event: Annotated[int, Column("", "1: the patient died of the disease, 0: censored")]
    risk: Annotated[float, Column("", "risk by the method; a higher one means an earlier event; no common scale")]
    hazard: Annotated[
        tuple[np.float32, ...] | None,
        Column("per interval (year)", "hazard in each interval; one value for a Cox model"),
    ]


_FOLDER = "routing/{encoder}/{architecture}/{target}"
FOLD_PREDICTIONS = Table(
    f"{_FOLDER}/predictions/fold_{{fold}}.parquet",
    "test patient of the outer fold and method",
    columns_of(FoldPredictionRow),
)
FOLD_GATES = Table(
    f"{_FOLDER}/gates/fold_{{fold}}.parquet",
    "test patient of the outer fold and expert",
    tuple(column for column in GATES.columns if column.name not in ("target", "encoder", "architecture")),
)
