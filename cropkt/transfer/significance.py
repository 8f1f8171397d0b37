"""Every source against every baseline, on the same patients.

Both sides are scored on the patients that both score, and compared on the same pairs of patients: all of the cohort
where neither knows the target (other cohorts' models, untrained ones), within test folds where one has learnt from it.
Errors come from the influences of the same patients on both (concordance.py), so what two models share cancels.
judgement/verdicts.py says what follows.

Models with random weights are compared with by their mean. How far they lie apart counts as far as it leaves their mean
unsure: the variance between M of them, divided by M, beside the patients'.

What is trained on the target's own patients (`trained_on_target`) may have been cross-validated several times, with
other splits and seeds. The difference is then the mean over repeats, and its error covers training too
(survival/repeats.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from cropkt.errors import InputError
from cropkt.survival.concordance import (
    CombinedConcordance,
    FoldScores,
    score_folds,
)
from cropkt.survival.repeats import RepeatedEstimate, repeated_difference
from cropkt.transfer.baselines import BASELINES, Role
from cropkt.transfer.protocol import mode_of

Number = TypeVar("Number", float, pd.Series)


def compared() -> tuple[str, ...]:
    """What pairs are compared with beside chance: baselines that say so, and the target's own model ("self")."""
    beside = (Role.SHOWN, Role.SOURCE)
    return (*(baseline.name for baseline in BASELINES.records() if baseline.role not in beside), "self")


def questions() -> tuple[str, ...]:
    """What a pair may be better than: 0.5 ("chance"), and each of `compared`."""
    return ("chance", *compared())


def at_home() -> tuple[str, ...]:
    """What a target can train on its own patients: baselines that say so, and its own model ("self")."""
    return (*(baseline.name for baseline in BASELINES.records() if baseline.role == Role.AT_HOME), "self")


def sources_beyond_cohorts() -> tuple[str, ...]:
    """Sources that are no cohort, such as all others together: baselines that say so."""
    return tuple(baseline.name for baseline in BASELINES.records() if baseline.role == Role.SOURCE)


def trained_on_target() -> tuple[str, ...]:
    """What learns from the target's own patients, fold by fold: baselines that do, and its own model ("self")."""
    return (*(baseline.name for baseline in BASELINES.records() if baseline.learns), "self")


@dataclass(frozen=True)
class Comparison:
    """A source against a baseline or the target's own model (`against`, one of `compared`), on the target's patients.

    difference: C-index of the source minus that of the other, the mean over `repeats` cross-validations of the other.
    p_value: two-sided. smallest: the true difference that such a comparison shows at 5 % with a probability of .8.
    """

    source: str
    target: str
    against: str
    difference: float
    p_value: float
    repeats: int
    smallest: float


@dataclass(frozen=True)
class TargetPredictions:
    """What sources and baselines say of one target's B patients.

    time, event, tested_in: (B,). risk: by name, (M, B), NaN where a model does not score a patient. own: the target's
    own code, under which its own model is in `risk`.
    """

    own: str
    patients: tuple[str, ...]
    time: np.ndarray
    event: np.ndarray
    tested_in: np.ndarray
    risk: Mapping[str, np.ndarray]

    def score(self, risk: np.ndarray, *, within_folds: bool = True) -> FoldScores:
        """C-indices of `risk` (M, B), by model and test fold, mean and pooled; all patients are one fold without
        `within_folds`."""
        tested_in = self.tested_in if within_folds else np.where(self.tested_in >= 0, 0, -1)
        return score_folds(self.time, self.event, risk, tested_in, np.isfinite(risk))

    def knows_target(self, name: str) -> bool:
        """Whether the models called `name` have learnt from patients of the target."""
        return BASELINES[name].learns if name in BASELINES else name == self.own


def collect_predictions(own: str, tables: Mapping[str, pd.DataFrame]) -> TargetPredictions:
    """Put prediction tables (as stored, by source or baseline) of the target `own` side by side.

    Raises InputError when two tables disagree on a patient's time, event or test fold: they were not measured on the
    same study, and nothing that compares them would be true.
    """
    patients = _patients(own, tables)
    risk = {}
    for name, table in tables.items():
        wide = table.pivot(index="source_fold", columns="patient_id", values="risk")
        risk[name] = wide.reindex(columns=patients.index).to_numpy(dtype=np.float64)
    return TargetPredictions(
        own,
        tuple(patients.index),
        patients["time"].to_numpy(dtype=np.float64),
        patients["event"].to_numpy(dtype=np.int64),
        patients["target_fold"].to_numpy(dtype=np.int64),
        risk,
    )


def _patients(own: str, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """time, event and target_fold by patient, as all tables agree."""
    facts = ["time", "event", "target_fold"]
    named = [table[["patient_id", *facts]].assign(name=name) for name, table in tables.items()]
    said = pd.concat(named).drop_duplicates(["patient_id", *facts])
    if said["patient_id"].duplicated().any():
        patient = said.loc[said["patient_id"].duplicated(), "patient_id"].iloc[0]
        one, other = said[said["patient_id"] == patient].head(2).to_dict("records")
        different = [f"{fact} {one[fact]} and {other[fact]}" for fact in facts if one[fact] != other[fact]]
        raise InputError(
            f"target {own}: the predictions of {one['name']} and {other['name']} disagree on patient {patient} "
            f"({', '.join(different)}); run the sweep again, it measures anew whatever is not of today's study"
        )
    return said.drop(columns="name").sort_values("patient_id").set_index("patient_id")


def compare(predictions: TargetPredictions, repeats: Sequence[TargetPredictions] = ()) -> list[Comparison]:
    """Every source other than the target, cohort or not, against each of `compared` that has predictions.

    repeats: what further cross-validations of the target's own models say (judgement/repeats.py), on the patients of
    `predictions`.
    """
    keys = {name: predictions.own if name == "self" else name for name in compared()}
    rivals = {name: key for name, key in keys.items() if key in predictions.risk}
    scorings = [_Scoring(of) for of in (predictions, *repeats)]
    return [
        comparison
        for source in predictions.risk
        if mode_of(source, predictions.own) in ("transfer", *sources_beyond_cohorts())
        for comparison in _compared(scorings, source, rivals)
    ]


@dataclass(frozen=True)
class _Scoring:
    """Scores of the same models on the same patients are taken once."""

    predictions: TargetPredictions
    _known: dict[tuple[str, bool, bytes], FoldScores] = field(default_factory=dict)

    def scores(self, name: str, *, within_folds: bool, among: np.ndarray) -> FoldScores:
        risk = np.where(among, self.predictions.risk[name], np.nan)
        key = (name, within_folds, np.isfinite(risk).any(axis=0).tobytes())
        if key not in self._known:
            self._known[key] = self.predictions.score(risk, within_folds=within_folds)
        return self._known[key]


def _compared(scorings: Sequence[_Scoring], source: str, rivals: Mapping[str, str]) -> Iterator[Comparison]:
    predictions = scorings[0].predictions
    for name, rival in rivals.items():
        within_folds = predictions.knows_target(rival)
        # What has not learnt from the target is the same whatever the folds.
        repeated = [of for of in scorings[1:] if within_folds and rival in of.predictions.risk]
        scores = [_scores_of_both(of, source, rival, within_folds=within_folds) for of in (scorings[0], *repeated)]
        spread = _error_of_mean(scores[0][1]) if name == "random" else 0.0
        ours, theirs = ([both[side].pooled for both in scores] for side in (0, 1))
        found = paired_difference(ours, theirs, spread, trained=1)  # the source has learnt from other patients
        yield Comparison(
            source,
            predictions.own,
            name,
            found.estimate,
            found.p_of_difference(),
            found.n_repeats,
            found.smallest_difference(),
        )


def _scores_of_both(scoring: _Scoring, source: str, rival: str, *, within_folds: bool) -> tuple[FoldScores, FoldScores]:
    """Scores of both on the patients that both score."""
    risk = scoring.predictions.risk
    both = np.isfinite(risk[source]).any(axis=0) & np.isfinite(risk[rival]).any(axis=0)
    ours, theirs = (scoring.scores(of, within_folds=within_folds, among=both) for of in (source, rival))
    return ours, theirs


def paired_difference(
    ours: Sequence[CombinedConcordance],
    theirs: Sequence[CombinedConcordance],
    further_error: float = 0.0,
    *,
    trained: int = 2,
) -> RepeatedEstimate:
    """C-index of `ours` minus that of `theirs`, repeat by repeat, of the same patients.

    further_error: what adds to the error. trained: how many of the two have learnt from the target (repeats.py). The
    events are those on which both rest.
    """
    found = repeated_difference(ours, theirs, trained=trained)
    return replace(found, standard_error=float(np.hypot(found.standard_error, further_error)))


def _error_of_mean(scores: FoldScores) -> float:
    """Standard error of the mean C-index of models such as these, as there are only M of them.

    NaN where there is nothing to compare.
    """
    models = sorted({model for model, _ in scores.cells})
    cells = [[cell for (model, _), cell in scores.cells.items() if model == chosen] for chosen in models]
    correct = [sum(cell.concordant + 0.5 * cell.tied_risk for cell in of_model) for of_model in cells]
    comparable = [sum(cell.comparable for cell in of_model) for of_model in cells]
    if 0 in comparable or len(models) < 2:
        return np.nan
    return float(np.divide(correct, comparable).std(ddof=1) / np.sqrt(len(models)))


def one_sided(p_value: Number, difference: Number) -> Number:
    """p-values of "larger than 0" from two-sided ones of a statistic that is symmetric about 0; 1 - p is "smaller"."""
    return p_value / 2 + (difference <= 0) * (1 - p_value)


def q_values(p_values: pd.Series) -> np.ndarray:
    """Benjamini and Hochberg's q-values of one family; NaN where there is no p-value, which does not count."""
    p = p_values.to_numpy(dtype=float)
    q = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q
