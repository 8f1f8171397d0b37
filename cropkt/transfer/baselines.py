"""What a source has to beat, measured on the same patients and folds and kept like a source's results.

- chance: how far from 0.5 a ranking by lot lands in this target.
- random: the source architecture with random weights, several of them. Not chance: features carry signal of their own.
- mean_cox: a Cox model on mean-pooled features, trained on the target's own training folds.
- size: the number of patches, its direction learnt on the target's own training folds.
"""

import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.util import Surv

from cropkt.data.study import Cohort
from cropkt.files import digest
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture
from cropkt.seeds import generator, named_seed
from cropkt.survival.concordance import FoldScores, concordance, score_folds
from cropkt.training.sources import SourceModels, indices_of
from cropkt.transfer.pair import PairResult, Scored, TargetCohort, measure_pair, pair_result

BASELINE_VERSION = 1
"""Raised when the code changes what a baseline of the same patients measures."""
RANDOM_MODELS = 10
RANDOM_RANKINGS = 200
L1_RATIO = 0.1
"""Nearly ridge: a bag's mean features say little one by one."""
PENALTIES = 20
INNER_FOLDS = 3
FEWEST_EVENTS = 3
"""A Cox model of mean features needs this many events to train on, one for each inner fold."""


def measure_baseline(
    name: str,
    target: TargetCohort,
    architecture: Architecture,
    *,
    seed: int,
    loss: str = "discrete_nll",
    precision: str = "float32",
) -> PairResult:
    """Measure the baseline `name` of protocol.BASELINES on `target`; `architecture` and `loss` are the sources'."""
    if name == "random":
        return measure_pair(_random_weights(architecture, target, seed, loss), target, precision=precision)
    if name == "chance":
        return _chance(target, architecture, seed)
    columns = _mean_features(target) if name == "mean_cox" else np.log(target.bags.lengths.cpu().numpy())[:, None]
    risk = np.full((len(target.cohort.folds), len(target.bags)), np.nan)
    for fold, split in enumerate(target.cohort.folds):
        train = indices_of(target.bags, split.train)
        train = train[~np.isin(train, np.flatnonzero(target.tested_in == fold))]
        if name == "size":
            risk[fold] = _directed(columns[:, 0], target.time[train], target.event[train], train)
        else:
            inner_seed = named_seed(seed, "mean_cox", target.cohort.code, fold) % 2**32
            risk[fold] = cox_risk(columns, target.time, target.event, train, seed=inner_seed)
    tested = target.tested_in[None, :] == np.arange(len(risk))[:, None]
    scored = Scored(name, architecture.name, tuple(range(len(risk))), risk, tested & np.isfinite(risk))
    return pair_result(scored, target)


def baseline_fingerprint(name: str, target: Cohort, architecture: Architecture, *settings: str | int) -> str:
    """Changes whenever the target's data, the architecture, the `settings` or the way of measuring change."""
    return digest(BASELINE_VERSION, name, target.fingerprint, repr(architecture), *settings)


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


def _mean_features(target: TargetCohort) -> np.ndarray:
    """(B, D) float64: the mean patch of each bag."""
    bags = target.bags
    means = [bags.take([bag]).features.float().mean(dim=0) for bag in range(len(bags))]
    return torch.stack(means).double().cpu().numpy()


def _directed(value: np.ndarray, time: np.ndarray, event: np.ndarray, train: np.ndarray) -> np.ndarray:
    """`value` (B,) with the sign that ranks the training patients better; as it is where they tell nothing."""
    c_index = concordance(time, event, value[train]).c_index
    return -value if c_index < 0.5 else value


def _random_weights(architecture: Architecture, target: TargetCohort, seed: int, loss: str) -> SourceModels:
    device = target.bags.features.device
    starts = [named_seed(seed, "random baseline", number) for number in range(RANDOM_MODELS)]
    models = tuple(build_null_model(architecture, start).to(device).eval() for start in starts)
    return SourceModels("random", tuple(range(RANDOM_MODELS)), models, ((),) * RANDOM_MODELS, loss, "")


def _chance(target: TargetCohort, architecture: Architecture, seed: int) -> PairResult:
    """A row whose C-index is 0.5, and whose error and interval are those of rankings by lot within folds."""
    random = generator(seed, "chance", target.cohort.code)
    rankings = random.random((RANDOM_RANKINGS, len(target.bags)))
    tested = np.broadcast_to(target.tested_in >= 0, rankings.shape)
    by_lot = score_folds(target.time, target.event, rankings, target.tested_in, tested)
    row = pair_result(Scored("chance", architecture.name, (0,), rankings[:1], tested[:1]), target).pair
    if row.n_comparable:
        pooled, mean = _each_ranking(by_lot)
        lower, upper = np.quantile(pooled, [0.025, 0.975])
        row = replace(
            row,
            c_index_mean=0.5,
            c_index_mean_standard_error=float(mean.std()),
            c_index_pooled=0.5,
            standard_error=float(pooled.std()),
            interval_lower=float(lower),
            interval_upper=float(upper),
            p_chance=np.nan,
        )
    return PairResult((), row, None, None)


def _each_ranking(by_lot: FoldScores) -> tuple[np.ndarray, np.ndarray]:
    """(RANDOM_RANKINGS,) pooled, and averaged over folds, C-indices of every ranking by itself."""
    folds = sorted({fold for _, fold in by_lot.cells})
    cells = [[by_lot.cells[m, fold] for fold in folds] for m in range(RANDOM_RANKINGS)]
    c_index = np.array([[cell.c_index for cell in of_ranking] for of_ranking in cells])
    weight = np.array([[cell.comparable for cell in of_ranking] for of_ranking in cells])
    used = weight > 0
    pooled = np.where(used, c_index * weight, 0).sum(axis=1) / weight.sum(axis=1)
    return pooled, np.where(used, c_index, 0).sum(axis=1) / used.sum(axis=1)
