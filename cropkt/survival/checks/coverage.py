"""Do the errors, intervals and p-values of C-indices keep their promises? Simulated cohorts whose truth is known.

A patient has a score x ~ N(0, 1), an event time ~ Exp(rate exp(beta x)) and a censoring time ~ Weibull; `models` noisy
versions of x rank the patients. The five test folds hold equally many events, as the study's do. So the true C-index is
known to any precision from larger cohorts, and what is promised of 60 patients can be counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cropkt.seeds import generator
from cropkt.survival.concordance import (
    CombinedConcordance,
    FoldScores,
    confidence_interval,
    p_value_against,
    p_value_of_difference,
    score_all,
    score_folds,
    standard_error,
)

NOISE = 0.6
"""Of a model's score, beside the patient's own: its correlation with x is 0.8."""
TRUTH_PATIENTS, TRUTH_RIVALS, TRUTH_EVENTS, TRUTH_COHORTS = 20_000, 500, 20_000, 1000
BOOTSTRAPS = PERMUTATIONS = 200


@dataclass(frozen=True)
class Setting:
    """beta: what x does to the rate. censoring: scale of the censoring time; the shorter, the fewer events. follow_up:
    its Weibull shape; 1, exponential, leaves on average half of the patients at risk at an event, more leave more."""

    beta: float
    censoring: float
    follow_up: float = 1.0
    patients: int = 60
    models: int = 5
    folds: int = 5


FEW_OF_MANY = tuple(
    Setting(beta, events / (patients - events), patients=patients)
    for beta in (0.0, 0.7)
    for patients, events in ((180, 4), (500, 7))
)
"""As in phaeochromocytoma, thymoma and thyroid cancer: so many patients, so few events (on average)."""
SIXTY_PATIENTS = tuple(Setting(beta, censoring) for beta in (0.0, 0.5, 1.0) for censoring in (0.5, 0.2, 0.1))
SETTINGS = SIXTY_PATIENTS + FEW_OF_MANY


@dataclass(frozen=True)
class SimulatedCohort:
    """time, event, tested_in: (N,). risk: (models, N)."""

    time: np.ndarray
    event: np.ndarray
    tested_in: np.ndarray
    risk: np.ndarray

    def scores(self, risk: np.ndarray | None = None) -> FoldScores:
        """C-indices of `risk` (default: the cohort's own)."""
        risk = self.risk if risk is None else risk
        return score_folds(self.time, self.event, risk, self.tested_in, np.ones(risk.shape, dtype=bool))


def coverage_table(n_cohorts: int, seed: int, settings: tuple[Setting, ...] = SETTINGS) -> pd.DataFrame:
    """A row a setting: true C-index, events, what share of `n_cohorts` the 95 % intervals cover, how the mean standard
    error compares with the spread of C-indices and that over all pairs with that within folds, the size of tests
    against the truth and between two models that are equally good, and how often nothing can be said."""
    return pd.DataFrame([_row(number, setting, n_cohorts, seed) for number, setting in enumerate(settings)])


def _row(number: int, setting: Setting, n_cohorts: int, seed: int) -> dict[str, float]:
    truth = true_c_index(setting, seed)
    found = []
    for cohort in simulated_cohorts(setting, n_cohorts, seed, number):
        scores = cohort.scores()
        everybody = score_all(cohort.time, cohort.event, cohort.risk, np.ones(cohort.risk.shape, dtype=bool))
        first, rival = (cohort.scores(cohort.risk[[model]]).pooled for model in (0, -1))
        difference = standard_error(first.influence - rival.influence)
        found.append(
            {
                "events": cohort.event.sum(),
                "c_index": scores.pooled.c_index,
                "standard_error": scores.pooled.standard_error,
                "all_standard_error": everybody.standard_error,
                "covered": _covers(scores.pooled, truth),
                "mean_covered": _covers(scores.mean, truth),
                "all_covered": _covers(everybody, truth),
                "p": p_value_against(*_estimate(scores.pooled), truth),
                "p_difference": p_value_of_difference(first.c_index - rival.c_index, difference, first.events),
            }
        )
    table = pd.DataFrame(found)
    return {
        "patients": setting.patients,
        "true_c_index": truth,
        "events": table["events"].mean(),
        "coverage_pooled": table["covered"].mean(),
        "coverage_mean": table["mean_covered"].mean(),
        "coverage_all": table["all_covered"].mean(),
        "error_over_spread": table["standard_error"].mean() / table["c_index"].std(),
        "error_all_over_pooled": table["all_standard_error"].mean() / table["standard_error"].mean(),
        "below_1_percent": (table["p"].dropna() < 0.01).mean(),
        "size_of_paired_test": (table["p_difference"].dropna() < 0.05).mean(),
        "nothing_said": table["p"].isna().mean(),
    }


def _estimate(found: CombinedConcordance) -> tuple[float, float, int]:
    return found.c_index, found.standard_error, found.events


def _covers(found: CombinedConcordance, truth: float) -> float:
    lower, upper = confidence_interval(*_estimate(found))
    return np.nan if np.isnan(lower) else float(lower <= truth <= upper)


def error_table(n_cohorts: int, seed: int, settings: tuple[Setting, ...] = SIXTY_PATIENTS) -> pd.DataFrame:
    """A row a setting: the standard error by U-statistic over that by a bootstrap of patients within folds, and, where
    the truth is chance, over the spread of permutations within folds. Means over `n_cohorts` of one model each."""
    rows = []
    for number, setting in enumerate(settings):
        ratios = []
        for place, cohort in enumerate(simulated_cohorts(setting, n_cohorts, seed, number)):
            random = generator(seed, "resampling", number, place)
            risk = cohort.risk[:1]
            error = cohort.scores(risk).pooled.standard_error
            ratios.append((error, _bootstrap(cohort, risk, random), _permutations(cohort, risk, random)))
        error, bootstrap, permutation = np.nanmean(ratios, axis=0)
        over_permutation = error / permutation if setting.beta == 0 else np.nan
        rows.append(
            {
                "beta": setting.beta,
                "censoring": setting.censoring,
                "standard_error": error,
                "over_bootstrap": error / bootstrap,
                "over_permutation": over_permutation,
            }
        )
    return pd.DataFrame(rows)


def _bootstrap(cohort: SimulatedCohort, risk: np.ndarray, random: np.random.Generator) -> float:
    found = []
    for _ in range(BOOTSTRAPS):
        drawn = [
            random.choice(np.flatnonzero(cohort.tested_in == fold), (cohort.tested_in == fold).sum())
            for fold in np.unique(cohort.tested_in)
        ]
        chosen = np.concatenate(drawn)
        again = SimulatedCohort(cohort.time[chosen], cohort.event[chosen], cohort.tested_in[chosen], risk[:, chosen])
        found.append(again.scores().pooled.c_index)
    return float(np.nanstd(found))


def _permutations(cohort: SimulatedCohort, risk: np.ndarray, random: np.random.Generator) -> float:
    rankings = np.empty((PERMUTATIONS, len(cohort.time)))
    for fold in np.unique(cohort.tested_in):
        tested = np.flatnonzero(cohort.tested_in == fold)
        rankings[:, tested] = random.permuted(np.repeat(risk[:1, tested], PERMUTATIONS, axis=0), axis=1)
    return float(np.nanstd([cohort.scores(ranking[None]).pooled.c_index for ranking in rankings]))


def true_c_index(setting: Setting, seed: int) -> float:
    """The C-index of one model over 20,000 events and more, held against 20,000 patients: its error is near 0.002."""
    if setting.beta == 0:
        return 0.5
    concordant = comparable = events = drawn = 0
    large = replace(setting, patients=TRUTH_PATIENTS, models=1, folds=1)
    for cohort in simulated_cohorts(large, TRUTH_COHORTS, seed, -1):
        dead = np.flatnonzero(cohort.event)
        later = cohort.time[:TRUTH_RIVALS] > cohort.time[dead, None]
        comparable += int(later.sum())
        concordant += int((later & (cohort.risk[0, :TRUTH_RIVALS] < cohort.risk[0, dead, None])).sum())
        events, drawn = events + len(dead), drawn + 1
        if events >= TRUTH_EVENTS and drawn * TRUTH_RIVALS >= TRUTH_EVENTS:
            break
    return concordant / comparable


def simulated_cohorts(setting: Setting, n_cohorts: int, seed: int, stream: int) -> Iterator[SimulatedCohort]:
    """`n_cohorts` cohorts of the setting, drawn from the stream of that number."""
    random = generator(seed, "coverage", stream)
    for _ in range(n_cohorts):
        score = random.normal(size=setting.patients)
        dies = random.exponential(np.exp(-setting.beta * score))
        leaves = setting.censoring * random.weibull(setting.follow_up, setting.patients)
        event = (dies <= leaves).astype(np.int64)
        noise = random.normal(size=(setting.models, setting.patients))
        order = np.lexsort((random.random(setting.patients), -event))
        tested_in = np.empty(setting.patients, dtype=np.int64)
        tested_in[order] = np.arange(setting.patients) % setting.folds
        risk = np.sqrt(1 - NOISE**2) * score + NOISE * noise
        yield SimulatedCohort(np.minimum(dies, leaves), event, tested_in, risk)
