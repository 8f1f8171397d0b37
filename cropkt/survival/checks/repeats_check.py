"""Does the error of repeated cross-validation hold where models are trained on the patients they are tested on?

Simulated cohorts and a learner that takes microseconds: a patient has a score z ~ N(0, 1), an event time ~ Exp(rate
exp(beta z)), and each of two learners its own 20 noisy features, three of them with a correlation of 0.6 with z. The
weights are the score vector of a Cox model at 0 (features times martingale residuals), scaled to length 1, plus a
seed's own random vector of length `seed_noise`. Both learners are equally good: the truth of their difference is 0.

Five sources have learnt elsewhere: each is a fixed ranking with a correlation of 0.45 with z. A router learns as the
first learner does, from that learner's features and the sources' rankings side by side; the honest choice is the source
with the best C-index on the fold's training patients.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cropkt.seeds import generator
from cropkt.survival.concordance import CombinedConcordance, score_folds
from cropkt.survival.repeats import RepeatedEstimate, repeated_c_index, repeated_difference

FEATURES, TELLING = 20, 3
FOLDS = SOURCES = 5
TRAINED_SIDES = {"own less fixed": 1, "own less another own": 2, "routed less own": 2, "honest less own": 2}
"""Differences, and how many of the two were trained on the cohort."""


@dataclass(frozen=True)
class Learning:
    """beta: what z does to the rate. censoring: mean time to censoring. seed_noise: length of the seed's weights."""

    beta: float
    censoring: float
    patients: int = 60
    seed_noise: float = 0.5


LEARNING = (
    Learning(0.0, 0.2),
    Learning(1.0, 0.2),
    Learning(1.0, 0.5),
    Learning(1.0, 1.5),
    Learning(1.0, 0.5, patients=120),
    Learning(1.0, 0.5, seed_noise=0.0),
    Learning(1.0, 0.5, seed_noise=2.0),
)


Trained = dict[str, list[CombinedConcordance]]
"""C-indices of R repeats of cross-validation on one cohort, by who ranks it: "own", "fixed", "routed", say."""


def size_table(
    n_cohorts: int, seed: int, repeats: tuple[int, ...] = (1, 3, 5), settings: tuple[Learning, ...] = LEARNING
) -> pd.DataFrame:
    """A row a setting, question and number of repeats: events, true spread over the mean error (1 is right), the size
    of the two-sided test at 5 % and 1 %, and, at 5 %, of the one-sided test upwards.

    Questions: the `own` and the `routed` model against their true C-index, and each of TRAINED_SIDES. The truth is 0.5
    or 0 where it is known, else the mean over all cohorts.
    """
    rows = []
    for number, setting in enumerate(settings):
        random = generator(seed, "repeats", number)
        trained = [_train(setting, max(repeats), random) for _ in range(n_cohorts)]
        for count in repeats:
            found = {name: [repeated_c_index(of[name][:count]) for of in trained] for name in ("own", "routed")}
            for question, sides in TRAINED_SIDES.items():
                ours, theirs = question.split(" less ")
                both = [(of[ours][:count], of[theirs][:count]) for of in trained]
                found[question] = [repeated_difference(*pair, trained=sides) for pair in both]
            rows += [_row(setting, question, count, estimates) for question, estimates in found.items()]
    return pd.DataFrame(rows)


def _row(setting: Learning, question: str, repeats: int, found: list[RepeatedEstimate]) -> dict[str, float | str]:
    found = [of for of in found if of.events >= 4 and of.n_repeats == repeats]
    estimate = np.array([of.estimate for of in found])
    difference = question in TRAINED_SIDES
    known = setting.beta == 0 or question == "own less another own"
    truth = estimate.mean() if not known else 0.0 if difference else 0.5
    if not difference:
        p = np.array([of.p_against(truth) for of in found])
    else:
        centred = [RepeatedEstimate(of.estimate - truth, *_errors(of)) for of in found]
        p = np.array([of.p_of_difference() for of in centred])
    return {
        "patients": setting.patients,
        "events": float(np.mean([of.events for of in found])),
        "beta": setting.beta,
        "seed_noise": setting.seed_noise,
        "question": question,
        "repeats": repeats,
        "spread_over_error": float(estimate.std() / np.sqrt(np.mean([of.standard_error**2 for of in found]))),
        "size_5": float(np.mean(p < 0.05)),
        "size_1": float(np.mean(p < 0.01)),
        "size_upwards_5": float(np.mean((p < 0.1) & (estimate > truth))),
    }


def _errors(found: RepeatedEstimate) -> tuple[float, float, int, int]:
    return found.standard_error, found.patients_error, found.n_repeats, found.events


def _train(setting: Learning, repeats: int, random: np.random.Generator) -> Trained:
    z = random.normal(size=setting.patients)
    dies = random.exponential(np.exp(-setting.beta * z))
    leaves = random.exponential(setting.censoring, setting.patients)
    time, event = np.minimum(dies, leaves), (dies <= leaves).astype(np.int64)
    features = random.normal(size=(2, setting.patients, FEATURES))
    features[:, :, :TELLING] = 0.6 * z[:, None] + 0.8 * features[:, :, :TELLING]
    sources = 0.45 * z + 0.9 * random.normal(size=(SOURCES, setting.patients))
    side_by_side = np.concatenate([features[0], sources.T], axis=1)
    fixed = np.tile(sources[0], (FOLDS, 1))
    trained: Trained = {}
    for _ in range(repeats):
        order = np.lexsort((random.random(setting.patients), -event))
        tested_in = np.empty(setting.patients, dtype=np.int64)
        tested_in[order] = np.arange(setting.patients) % FOLDS
        valid = tested_in == np.arange(FOLDS)[:, None]
        learnt = zip(
            ("own", "another own", "routed"),
            [_learn(of, time, event, valid, setting.seed_noise, random) for of in (*features, side_by_side)],
            strict=True,
        )
        risks = {**dict(learnt), "fixed": fixed, "honest": _chosen(sources, time, event, valid)}
        for name, risk in risks.items():
            trained.setdefault(name, []).append(score_folds(time, event, risk, tested_in, valid).pooled)
    return trained


def _chosen(risks: np.ndarray, time: np.ndarray, event: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(FOLDS, N): for each fold the one of `risks` (SOURCES, N) that ranks its training patients best."""
    earlier = (time[:, None] < time[None, :]) & (event[:, None] == 1)
    concordant = earlier & (risks[:, :, None] > risks[:, None, :])
    best = [np.argmax(concordant[:, ~tested][:, :, ~tested].sum(axis=(1, 2))) for tested in valid]
    return np.asarray(risks[best])


def _learn(
    features: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    valid: np.ndarray,
    seed_noise: float,
    random: np.random.Generator,
) -> np.ndarray:
    """(FOLDS, N) risks of the models of each fold."""
    risk = np.zeros(valid.shape)
    for fold, tested in enumerate(valid):
        weights = features[~tested].T @ _martingale_residual(time[~tested], event[~tested])
        weights /= np.linalg.norm(weights) + 1e-12
        weights += seed_noise * random.normal(size=len(weights)) / np.sqrt(len(weights))
        risk[fold] = features @ weights
    return risk


def _martingale_residual(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """(N,): events less those expected by the Nelson-Aalen curve of all."""
    order = np.argsort(time, kind="stable")
    residual = np.empty(len(time))
    residual[order] = event[order] - np.cumsum(event[order] / (len(time) - np.arange(len(time))))
    return residual
