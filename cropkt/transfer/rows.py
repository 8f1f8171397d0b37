"""Rows of the tables of a sweep. Their fields are the columns; `Column` says unit and meaning of each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import numpy as np

from cropkt.transfer.baselines import BASELINES, Role
from cropkt.transfer.columns import Column, Table, TableColumn, columns_of
from cropkt.transfer.judgement.names import MEANING
from cropkt.transfer.significance import questions, trained_on_target

NAN = float("nan")
PATIENTS_ONLY = "patients"
TRAINING_TOO = "patients, training sample, splits and seeds"


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
CIndexPooled = Annotated[
    float,
    Column(
        "",
        "C-index over all comparable pairs of patients: of the cohort where no model knows the target (sources of "
        "other cohorts, untrained models), of a test fold where models have learnt from the target",
    ),
]
CIndexOfMethod = Annotated[float, Column("", "C-index over all comparable pairs of patients of a test fold")]
StandardError = Annotated[float, Column("", "standard error of c_index_pooled")]
ErrorCovers = Annotated[
    str,
    Column(
        "",
        'the chance that error, interval and p-values cover. "patients": models are taken as they are. Where a model '
        "was trained on the target (its own, every router), the luck of training patients, splits and seeds comes on "
        f'top. "{TRAINING_TOO}": cross-validation was repeated (--repeats)',
    ),
]
Lower = Annotated[float, Column("", "lower end of the 95 % interval of c_index_pooled")]
Upper = Annotated[float, Column("", "upper end of the 95 % interval of c_index_pooled")]
Patients = Annotated[int | None, Column("patients", "patients that were scored")]
Events = Annotated[int | None, Column("patients", "scored patients with an event")]
Comparable = Annotated[int | None, Column("pairs of patients", "comparable pairs of patients")]
DifferenceSelf = Annotated[
    float, Column("", "C-index within test folds minus that of the target's own model on the same patients")
]
PSelf = Annotated[float, Column("", "two-sided p-value of difference_self; none for the oracle")]


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
    p_chance: Annotated[
        float, Column("", "two-sided p-value of c_index_pooled against 0.5, the one that goes with its interval")
    ] = NAN
    error_covers: ErrorCovers = PATIENTS_ONLY
    c_index_within_folds: Annotated[
        float,
        Column("", "C-index over all comparable pairs of patients of a test fold, whatever c_index_pooled compares"),
    ] = NAN
    standard_error_within_folds: Annotated[float, Column("", "standard error of c_index_within_folds")] = NAN
    c_index_within_projects: Annotated[
        float, Column("", "as c_index_pooled, comparing patients of the same TCGA project only")
    ] = NAN
    horizon: Annotated[
        float,
        Column("days", "5 years, or where the target's training patients are not followed as long, the end of that"),
    ] = NAN
    uno_c_index: Annotated[
        float,
        Column(
            "",
            "Uno's C-index up to the horizon, of the mean risk of the source's models; it does not depend on "
            "follow-up. Assumes that leaving is unrelated to the risk",
        ),
    ] = NAN
    brier_gain: Annotated[
        float,
        Column(
            "",
            "1 - integrated Brier score of the recalibrated survival probabilities, up to the horizon, over that "
            "of the training patients' Kaplan-Meier curve: 0 tells no more. Assumption as for uno_c_index",
        ),
    ] = NAN
    calibration_p: Annotated[
        float,
        Column(
            "",
            'p-value of "as many die as the recalibrated probabilities say" (by bins of cumulative hazard). '
            "Assumes that patients who left were as likely to die of the disease later as similar ones who stayed",
        ),
    ] = NAN
    survival_predicted: Annotated[float, Column("", "mean recalibrated survival probability at the horizon")] = NAN
    survival_observed: Annotated[float, Column("", "Kaplan-Meier survival of the same patients at the horizon")] = NAN
    survival_observed_error: Annotated[float, Column("", "standard error of survival_observed (Greenwood)")] = NAN
    n_patients: Patients = None
    n_events: Events = None
    n_events_compared: Annotated[
        int | None,
        Column("patients", "events that somebody outlives among those compared: what intervals and p-values count"),
    ] = None
    n_comparable: Comparable = None
    folds_used: Annotated[int | None, Column("", "pairs of source fold and test fold with a C-index")] = None
    skipped_slides: Annotated[int | None, Column("slides", "slides of the target that could not be used")] = None
    passing_slides: Annotated[
        int | None,
        Column(
            "slides",
            "slides that target or source models lack for a reason that may be gone, such as a fault of the disk; "
            "while there are any, the pair is measured again by the next run",
        ),
    ] = None
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
    c_index_pooled: CIndexOfMethod
    standard_error: StandardError
    interval_lower: Lower
    interval_upper: Upper
    n_events: Events
    error_covers: ErrorCovers = PATIENTS_ONLY
    gap_to_oracle: Annotated[float, Column("", "c_index_pooled of the oracle choice minus this one")] = NAN
    difference_self: DifferenceSelf = NAN
    p_self: PSelf = NAN
    difference_home: Annotated[
        float,
        Column(
            "",
            "the smallest difference to anything the target can train at home: its own model, and the baselines "
            "that say so (mean_cox), each on the same patients",
        ),
    ] = NAN
    p_home: Annotated[
        float, Column("", 'one-sided p-value of "better than all of them": the largest; not for the oracle')
    ] = NAN
    folds: Annotated[int, Column("", "test folds in which the method has scored patients")] = 0
    tuned: Annotated[bool, Column("", "whether a search has chosen its settings")] = False


@dataclass(frozen=True)
class RoutedRow(MethodRow):
    """A method on a routed target; in a simulated study also its true C-index."""

    c_index_true: Annotated[
        float, Column("", "expected concordance under the true risk, within folds, where the study is simulated")
    ] = NAN


@dataclass(frozen=True)
class RepeatedRow:
    """A model that was trained on the target, over all its cross-validations: what its C-index varies with."""

    target: Target
    model: Annotated[str, Column("", '"self": the target\'s own model, or the baseline that was trained on its folds')]
    repeats: Annotated[int, Column("", "cross-validations, each with splits, starts and seeds of its own")]
    c_index: Annotated[float, Column("", "C-index within test folds, the mean over repeats")]
    standard_error: Annotated[
        float, Column("", "of c_index. One repeat: over patients. Several: training sample, splits and seeds too")
    ]
    interval_lower: Annotated[float, Column("", "lower end of the 95 % interval of c_index")]
    interval_upper: Annotated[float, Column("", "upper end of the 95 % interval of c_index")]
    p_chance: Annotated[float, Column("", "two-sided p-value of c_index against 0.5")]
    spread_patients: Annotated[
        float,
        Column(
            "", "standard deviation of one repeat's C-index by its patients (several repeats: tested and trained on)"
        ),
    ]
    spread_split_and_seed: Annotated[
        float, Column("", "standard deviation between repeats, by splits, starts and seeds together; unknown for one")
    ]
    smallest_difference: Annotated[
        float,
        Column(
            "",
            "the true difference between a source and this model that the study shows at 5 % with a probability of "
            "0.8; median over sources",
        ),
    ]


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


_MEASURED = columns_of(PairRow)
_NUMBER = next(column for column in _MEASURED if column.name == "p_chance")
_TEXT = next(column for column in _MEASURED if column.name == "mode")
_FAMILY = "(Benjamini and Hochberg) over the pairs between cohorts of one encoder and architecture"


def _judged_columns() -> tuple[TableColumn, ...]:
    """What comparing and judging add to a measured pair, for the baselines that are registered."""
    meanings = {}
    for name in questions():
        other = {"chance": "0.5", "self": "the target's own model"}.get(name, f"the baseline {name}")
        if name != "chance":
            meanings[f"difference_{name}"] = f"C-index minus that of {other}; same patients, same pairs of patients"
            meanings[f"p_{name}"] = f"two-sided p-value of difference_{name}"
            if name in trained_on_target():
                meanings[f"repeats_{name}"] = f"cross-validations that difference_{name} is the mean of (--repeats)"
        meanings[f"q_{name}"] = f"q-value of better than {other}, one-sided {_FAMILY}"
        meanings[f"q_below_{name}"] = f"q-value of worse than {other}, one-sided {_FAMILY}"
    start, home = (_listed(role) for role in (Role.START, Role.AT_HOME))
    meanings["q_transfers"] = (
        f"q-value of better than chance and {start}, from the largest of the one-sided p {_FAMILY}"
    )
    meanings["q_worth_borrowing"] = f"q-value of that and better than the own model and {home} {_FAMILY}"
    meanings["hazard_ratio_beyond_clinical"] = (
        "hazard ratio for one standard deviation of the risk in a Cox model beside age, sex and stage, by test fold"
    )
    meanings["p_beyond_clinical"] = "two-sided p-value of hazard_ratio_beyond_clinical (likelihood ratio)"
    meanings["q_beyond_clinical"] = f"q-value of a hazard ratio above 1, one-sided {_FAMILY}"
    texts = {
        "confounded_by": "baselines among "
        + _listed(Role.CONFOUNDER)
        + " that are better than chance (p < 0.05) and reach "
        "the interval of this pair's C-index all alone",
        "verdict": "what may be concluded of a pair between cohorts, or of a source that is no cohort ("
        + _listed(Role.SOURCE)
        + "), whose q-values are families of their own: "
        + "; ".join(f"{v}: {MEANING[v]}" for v in MEANING),
    }
    numbers = tuple(_NUMBER.renamed(*item) for item in meanings.items())
    return (*numbers, *(_TEXT.renamed(*item) for item in texts.items()))


def _judged_methods() -> tuple[TableColumn, ...]:
    family = "(Benjamini and Hochberg) over targets and methods of this table, of one encoder and architecture"
    return (
        _NUMBER.renamed("q_self", f"q-value of better than the own model, one-sided {family}"),
        _NUMBER.renamed("q_home", f"q-value of p_home {family}"),
    )


def _listed(role: Role) -> str:
    return ", ".join(baseline.name for baseline in BASELINES.records() if baseline.role == role)


FOLDS = Table(
    "transfer.parquet", "source fold and test fold of the target, of a pair or a baseline", columns_of(FoldRow)
)
PAIRS = Table(
    "pairs.parquet",
    "pair of source and target, and per baseline of a target",
    _MEASURED,
    _judged_columns,
)
METHODS_OF_TARGET = (*columns_of(Kind), *columns_of(MethodRow))
CHOICE = Table(
    "source_choice.parquet", "target and way to choose or combine sources", METHODS_OF_TARGET, _judged_methods
)
REPEATS = Table(
    "repeats.parquet",
    "target and model that was trained on it",
    (*columns_of(Kind), *columns_of(RepeatedRow)),
)
STALE = Table("stale.csv", "record that is left out of all tables", columns_of(StaleRow))
PREDICTIONS = Table(
    "predictions/{encoder}/{architecture}/{target}/{source}.parquet",
    "model of the source and patient of the target",
    columns_of(PredictionRow),
)
ROUTING = Table(
    "routing.parquet",
    "routed target and method, a router or a rival of it",
    (*columns_of(Kind), *columns_of(RoutedRow)),
    _judged_methods,
)
GATES = Table("gates.parquet", "routed target, test patient and expert", columns_of(GateRow))
