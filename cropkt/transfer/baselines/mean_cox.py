"""A Cox model of mean-pooled features, trained on the target's own training folds."""

import warnings

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.util import Surv

from cropkt.seeds import named_seed
from cropkt.survival.concordance import concordance
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.measure_baseline import measure_by_fold
from cropkt.transfer.pair import PairResult, TargetCohort

L1_RATIO = 0.1
"""Nearly ridge: a bag's mean features say little one by one."""
PENALTIES = 20
INNER_FOLDS = 3
FEWEST_EVENTS = 3
"""A Cox model of mean features needs this many events to train on, one for each inner fold."""


def cox_risk(columns: np.ndarray, time: np.ndarray, event: np.ndarray, train: np.ndarray, *, seed: int) -> np.ndarray:
    """Log-risk (B,) of an elastic-net Cox model of `columns` (B, D) trained on the patients `train` (indices) alone.

    Scaling, fit and choice of penalty (best C-index over inner folds, the larger penalty if equal) see no other
    patient. NaN throughout when `train` has too few events, or the fit fails.
    """
    nothing = np.full(len(columns), np.nan)
    if event[train].sum() < FEWEST_EVENTS:
        return nothing
    scaled = StandardScaler().fit(columns[train]).transform(columns)
    try:
        penalties = _fit(scaled, time, event, train, None).alphas_
        penalty = penalties[_best_penalty(scaled, time, event, train, penalties, seed)]
        return np.asarray(_fit(scaled, time, event, train, penalties).predict(scaled, alpha=penalty), dtype=np.float64)
    except (ArithmeticError, ValueError):  # what scikit-survival raises when a penalty leaves the fit no answer
        return nothing


def _best_penalty(
    columns: np.ndarray, time: np.ndarray, event: np.ndarray, train: np.ndarray, penalties: np.ndarray, seed: int
) -> int:
    inner = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=seed)
    score = np.zeros(len(penalties))
    pairs = 0
    for fitted, held_out in inner.split(train, event[train]):
        model = _fit(columns, time, event, train[fitted], penalties)
        test = train[held_out]
        for number, penalty in enumerate(penalties):
            found = concordance(time[test], event[test], model.predict(columns[test], alpha=penalty))
            score[number] += found.concordant + 0.5 * found.tied_risk
        pairs += found.comparable
    return int(score.argmax()) if pairs else 0


def _fit(
    columns: np.ndarray, time: np.ndarray, event: np.ndarray, train: np.ndarray, penalties: np.ndarray | None
) -> CoxnetSurvivalAnalysis:
    model = CoxnetSurvivalAnalysis(
        l1_ratio=L1_RATIO, n_alphas=PENALTIES, alphas=penalties, alpha_min_ratio=0.05, max_iter=10_000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "all coefficients are zero" at the largest penalty, which is what it is
        return model.fit(columns[train], Surv.from_arrays(event[train].astype(bool), time[train]))


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    columns = held.bags.means().double().cpu().numpy()

    def learn(fold: int, train: np.ndarray) -> np.ndarray:
        seed = named_seed(plan.seed, "mean_cox", held.cohort.code, fold) % 2**32
        return cox_risk(columns, held.time, held.event, train, seed=seed)

    return measure_by_fold("mean_cox", held, plan, learn)


BASELINE = Baseline(
    "mean_cox",
    label="mean features, Cox",
    trained_on="the target's own training folds",
    meaning="a penalised Cox model of each patient's mean patch",
    measure=_measure,
    role=Role.AT_HOME,
)
