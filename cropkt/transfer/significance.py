"""Is it transfer? Every source against every baseline on the same patients, with control over all pairs.

Differences are of pooled C-indices. Their errors come from the influences of the same patients on both
(concordance.py), so what two models share cancels. q-values are Benjamini and Hochberg's over all pairs between
cohorts, question by question: better than chance? than random weights? than a Cox model of mean features? than counting
patches? than the target's own model?

Models with random weights differ on the same patients, some are well above 0.5, some below. A source, itself
one start that was trained, is better than random only when it stands out from their spread: the variance between them
counts in full beside the patients'.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from cropkt.errors import InputError
from cropkt.survival.concordance import FoldScores, p_value_of_difference, score_folds, standard_error
from cropkt.transfer.protocol import mode_of

COMPARED = ("random", "mean_cox", "size", "self")
"""What pairs are compared with beside chance."""
NEEDED_BASELINES = ("random", "mean_cox")
"""A pair transfers when it is better than chance and than each of these."""
FEWEST_EVENTS = 5
FEWEST_PAIRS = 50
"""With fewer events, or fewer comparable pairs, the answer is "cannot tell", whatever the C-index."""
LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """A source against a baseline or the target's own model (`against`, one of COMPARED), on the target's patients.

    difference: pooled C-index of the source minus that of the other. p_value: two-sided.
    """

    source: str
    target: str
    against: str
    difference: float
    p_value: float


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

    def scores(self, name: str) -> FoldScores:
        """C-indices of `name`, by model and test fold, mean and pooled."""
        risk = self.risk[name]
        return score_folds(self.time, self.event, risk, self.tested_in, np.isfinite(risk))


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


def compare(predictions: TargetPredictions) -> list[Comparison]:
    """Every source other than the target against each of COMPARED that has predictions."""
    held = {name: predictions.own if name == "self" else name for name in COMPARED}
    held = {name: key for name, key in held.items() if key in predictions.risk}
    baselines = {name: predictions.scores(key) for name, key in held.items()}
    return [
        comparison
        for source in predictions.risk
        if mode_of(source, predictions.own) == "transfer"
        for comparison in _compared(predictions, source, baselines)
    ]


def _compared(predictions: TargetPredictions, source: str, baselines: Mapping[str, FoldScores]) -> Iterator[Comparison]:
    ours = predictions.scores(source).pooled
    events = int(predictions.event[np.isfinite(predictions.risk[source]).any(axis=0)].sum())
    for name, scores in baselines.items():
        theirs = scores.pooled
        error = standard_error(ours.influence - theirs.influence)
        if name == "random":
            error = float(np.hypot(error, _spread(scores)))
        difference = ours.c_index - theirs.c_index
        yield Comparison(source, predictions.own, name, difference, p_value_of_difference(difference, error, events))


def _spread(scores: FoldScores) -> float:
    """How far one more such model would be from the mean of these: root of the variance between them, 1 + 1/M times.

    NaN where there is nothing to compare.
    """
    models = sorted({model for model, _ in scores.cells})
    cells = [[cell for (model, _), cell in scores.cells.items() if model == chosen] for chosen in models]
    correct = [sum(cell.concordant + 0.5 * cell.tied_risk for cell in of_model) for of_model in cells]
    comparable = [sum(cell.comparable for cell in of_model) for of_model in cells]
    if 0 in comparable:
        return np.nan
    c_index = np.divide(correct, comparable)
    return float(np.sqrt(c_index.var(ddof=1) * (1 + 1 / len(models))))


def judge(pairs: pd.DataFrame) -> pd.DataFrame:
    """`pairs` with q-values and a `verdict` for each row of mode "transfer"; q-values are by encoder and architecture.

    Pairs with too few events or comparable pairs lose their p-values, count in no family, and are "cannot tell".
    """
    pairs = pairs.copy()
    transfer = pairs["mode"] == "transfer"
    too_few = (pairs["n_events"].fillna(0) < FEWEST_EVENTS) | (pairs["n_comparable"].fillna(0) < FEWEST_PAIRS)
    for question in ("chance", *COMPARED):
        p, q = f"p_{question}", f"q_{question}"
        pairs[p] = pairs[p].astype(float).where(~too_few)
        pairs[q] = np.nan
        for _, family in pairs[transfer].groupby(["encoder", "architecture"]):
            pairs.loc[family.index, q] = q_values(family[p])
    pairs["verdict"] = _verdicts(pairs).where(transfer)
    return pairs


def q_values(p_values: pd.Series) -> np.ndarray:
    """Benjamini and Hochberg's q-values of one family; NaN where there is no p-value, which does not count."""
    p = p_values.to_numpy(dtype=float)
    q = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q


def _verdicts(pairs: pd.DataFrame) -> pd.Series:
    """The first of these that holds; "better than chance" where none does."""
    beaten = [(pairs[f"difference_{name}"] > 0) & (pairs[f"q_{name}"] < LEVEL) for name in NEEDED_BASELINES]
    holds = {
        "cannot tell": pairs["q_chance"].isna(),
        "not shown": pairs["q_chance"] >= LEVEL,
        "worse than chance": pairs["c_index_pooled"] < 0.5,
        "transfers": np.logical_and.reduce(beaten),
    }
    chosen = np.select([np.asarray(where) for where in holds.values()], list(holds), "better than chance")
    return pd.Series(chosen, index=pairs.index, dtype=object)
