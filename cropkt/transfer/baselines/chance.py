"""How far from 0.5 a random ranking lands in this target."""

from dataclasses import replace

import numpy as np

from cropkt.seeds import generator
from cropkt.survival.concordance import FoldScores, score_folds
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import Baseline
from cropkt.transfer.judgement.survival import SurvivalQuality
from cropkt.transfer.pair import PairResult, Scored, TargetCohort, pair_result

RANDOM_RANKINGS = 200


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    """A row whose C-index is 0.5, and whose error and interval are those of random rankings of all patients."""
    random = generator(plan.seed, "chance", held.cohort.code)
    rankings = random.random((RANDOM_RANKINGS, len(held.bags)))
    tested = np.broadcast_to(held.tested_in >= 0, rankings.shape)
    scored = Scored("chance", plan.architecture.name, (0,), rankings[:1], tested[:1], knows_target=False)
    row = replace(pair_result(scored, held).pair, **vars(SurvivalQuality()), c_index_within_projects=np.nan)
    if row.folds_used:
        everybody = np.where(held.tested_in >= 0, 0, -1)
        within, mean = _each_ranking(score_folds(held.time, held.event, rankings, held.tested_in, tested))
        pooled, _ = _each_ranking(score_folds(held.time, held.event, rankings, everybody, tested))
        lower, upper = np.quantile(pooled, [0.025, 0.975])
        row = replace(
            row,
            c_index_mean=0.5,
            c_index_mean_standard_error=float(mean.std()),
            c_index_pooled=0.5,
            standard_error=float(pooled.std()),
            interval_lower=float(lower),
            interval_upper=float(upper),
            c_index_within_folds=0.5,
            standard_error_within_folds=float(within.std()),
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


BASELINE = Baseline(
    "chance",
    label="chance",
    trained_on="nothing",
    meaning="random rankings; the interval is how far from 0.5 they land",
    measure=_measure,
    learns=False,
)
