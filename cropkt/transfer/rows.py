"""Rows of the tables of a sweep. Their fields are the columns; `Column` says unit and meaning of each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import numpy as np

from cropkt.transfer.columns import Column, Table, TableColumn, columns_of
from cropkt.transfer.significance import COMPARED

NAN = float("nan")


class Status(StrEnum):
    """Whether something could be measured, and if not, the kind of reason."""

    OK = "ok"
    NO_EVENT = "no event"
    NO_COMPARABLE_PAIR = "no comparable pair"
    TOO_FEW_PATIENTS = "fewer than two patients"
    FAILED = "failed"


Source = Annotated[str, Column("", "source cohort, or the name of a baseline")]
Target = Annotated[str, Column("", "target cohort, on whose patients it was measured")]
Encoder = Annotated[str, Column("", "encoder of the patch features")]
Architecture = Annotated[str, Column("", "MIL architecture of the source models")]
Mode = Annotated[str, Column("", 'kind of row: "self", "transfer", or the name of a baseline')]
StatusColumn = Annotated[Status, Column("", "ok, or why there is no C-index: " + ", ".join(list(Status)[1:]))]
CIndexMean = Annotated[float, Column("", "Harrell's C-index: mean over pairs of source fold and test fold")]
CIndexPooled = Annotated[float, Column("", "C-index over all comparable pairs of patients within a test fold")]
StandardError = Annotated[float, Column("", "standard error of c_index_pooled, over patients, models fixed")]
Lower = Annotated[float, Column("", "lower end of the 95 % interval of c_index_pooled")]
Upper = Annotated[float, Column("", "upper end of the 95 % interval of c_index_pooled")]
Patients = Annotated[int | None, Column("patients", "patients that were scored")]
Events = Annotated[int | None, Column("patients", "scored patients with an event")]
Comparable = Annotated[int | None, Column("pairs of patients", "comparable pairs of patients")]
DifferenceSelf = Annotated[
    float, Column("", "c_index_pooled minus that of the target's own model on the same patients")
]
PSelf = Annotated[float, Column("", "two-sided p-value of difference_self")]


@dataclass(frozen=True)
class Kind:
    """The encoder and architecture that results were measured with."""

    encoder: Encoder
    architecture: Architecture


@dataclass(frozen=True)
class FoldRow:
    """The models of one source fold on the patients of one test fold of the target."""

    source: Source
    target: Target
    encoder: Encoder
    architecture: Architecture
    mode: Mode
    source_fold: Annotated[int, Column("", "fold whose model scores (of a baseline: number of the model)")]
    target_fold: Annotated[int, Column("", "fold of the target whose test patients are scored")]
    c_index: Annotated[float, Column("", "Harrell's C-index of this model on these patients")]
    standard_error: Annotated[float, Column("", "standard error of c_index, over patients")]
    n_patients: Patients
    n_events: Events
    n_comparable: Comparable
    status: StatusColumn


@dataclass(frozen=True)
class PairRow:
    """A source cohort, or a baseline, measured on a target: the summary that its record keeps."""

    source: Source
    target: Target
    encoder: Encoder
    architecture: Architecture
    mode: Mode
    c_index_mean: CIndexMean = NAN
    c_index_mean_standard_error: Annotated[float, Column("", "standard error of c_index_mean, over patients")] = NAN
    c_index_pooled: CIndexPooled = NAN
    standard_error: StandardError = NAN
    interval_lower: Lower = NAN
    interval_upper: Upper = NAN
    p_chance: Annotated[float, Column("", "two-sided p-value of c_index_pooled against 0.5")] = NAN
    n_patients: Patients = None
    n_events: Events = None
    n_comparable: Comparable = None
    folds_used: Annotated[int | None, Column("", "pairs of source fold and test fold with a C-index")] = None
    skipped_slides: Annotated[int | None, Column("slides", "slides of the target that could not be used")] = None
    seconds: Annotated[float, Column("s", "time the measurement took")] = NAN
    status: StatusColumn = Status.OK
    reason: Annotated[str, Column("", "why it failed, where status is failed")] = ""


@dataclass(frozen=True)
class MethodRow:
    """A way to choose or combine sources, or a router, on all test patients of a target."""

    target: Target
    method: Annotated[str, Column("", "name of the method (docs/significance.md, docs/routing.md)")]
    sources: Annotated[tuple[str, ...], Column("", "source chosen in each fold, where the method chooses one")]
    c_index_mean: CIndexMean
    c_index_pooled: CIndexPooled
    standard_error: StandardError
    interval_lower: Lower
    interval_upper: Upper
    n_events: Events
    gap_to_oracle: Annotated[float, Column("", "c_index_pooled of the oracle choice minus this one")] = NAN
    difference_self: DifferenceSelf = NAN
    p_self: PSelf = NAN
    folds: Annotated[int, Column("", "test folds in which the method has scored patients")] = 0
    tuned: Annotated[bool, Column("", "whether a search has chosen its settings")] = False


@dataclass(frozen=True)
class StaleRow:
    """A record that is left out of all tables, because it is not of today's study and settings, or damaged."""

    source: Source
    target: Target
    encoder: Encoder
    architecture: Architecture
    why: Annotated[str, Column("", "why the record is left out")]


@dataclass(frozen=True)
class PredictionRow:
    """One patient of the target by one model of the source."""

    source: Source
    target: Target
    source_fold: Annotated[int, Column("", "fold whose model scores (of a baseline: number of the model)")]
    target_fold: Annotated[int, Column("", "fold of the target that tests the patient")]
    patient_id: Annotated[str, Column("", "patient, as in the study's label table")]
    time: Annotated[float, Column("days", "time to the event or to censoring")]
    event: Annotated[int, Column("", "1: the patient died of the disease, 0: censored")]
    risk: Annotated[np.float32, Column("", "risk by the model; a higher one means an earlier event; no common scale")]
    hazard: Annotated[
        tuple[np.float32, ...] | None,
        Column("per interval (year)", "hazard in each interval; null for a Cox model and a baseline without one"),
    ]


@dataclass(frozen=True)
class GateRow:
    """What a router gives one expert for one test patient."""

    target: Target
    encoder: Encoder
    architecture: Architecture
    patient_id: Annotated[str, Column("", "test patient of the fold")]
    fold: Annotated[int, Column("", "outer fold whose router was asked")]
    expert: Annotated[str, Column("", "cohort of the expert; the target's own model is one")]
    gate: Annotated[float, Column("", "weight of the expert's vector: 0 unless it is in the router's top k")]
    probability: Annotated[float, Column("", "the router's probability of the expert, before the top k are taken")]


def _compared_columns() -> tuple[TableColumn, ...]:
    columns = []
    names = {"self": "the target's own model"} | {name: f"the baseline {name}" for name in COMPARED if name != "self"}
    for name in COMPARED:
        meanings = {
            "difference": f"c_index_pooled minus that of {names[name]} on the same patients",
            "p": f"two-sided p-value of difference_{name}",
            "q": f"q-value of p_{name} (Benjamini and Hochberg) over the pairs between cohorts of one encoder and "
            "architecture",
        }
        columns += [_NUMBER.renamed(f"{kind}_{name}", meaning) for kind, meaning in meanings.items()]
    return tuple(columns)


_MEASURED = columns_of(PairRow)
_NUMBER = next(column for column in _MEASURED if column.name == "p_chance")
_Q_CHANCE = _NUMBER.renamed(
    "q_chance",
    "q-value of p_chance (Benjamini and Hochberg) over the pairs between cohorts of one encoder and architecture",
)
_VERDICT = next(column for column in _MEASURED if column.name == "mode").renamed(
    "verdict", "what may be concluded of a pair between cohorts (docs/significance.md)"
)

FOLDS = Table(
    "transfer.parquet", "source fold and test fold of the target, of a pair or a baseline", columns_of(FoldRow)
)
PAIRS = Table(
    "pairs.parquet",
    "pair of source and target, and per baseline of a target",
    (*_MEASURED, _Q_CHANCE, *_compared_columns(), _VERDICT),
)
METHODS_OF_TARGET = (*columns_of(Kind), *columns_of(MethodRow))
CHOICE = Table("source_choice.parquet", "target and way to choose or combine sources", METHODS_OF_TARGET)
STALE = Table("stale.csv", "record that is left out of all tables", columns_of(StaleRow))
PREDICTIONS = Table(
    "predictions/{encoder}/{architecture}/{target}/{source}.parquet",
    "model of the source and patient of the target",
    columns_of(PredictionRow),
)
ROUTING = Table("routing.parquet", "routed target and method, a router or a rival of it", METHODS_OF_TARGET)
GATES = Table("gates.parquet", "routed target, test patient and expert", columns_of(GateRow))
