"""The other cohorts as lenders: their axes, their summaries, and which of them go with the rest.

A cohort that runs the other way misleads every target that lies near it. So each lender is itself asked the question
that a target is asked (fit): do its coefficients follow from the other lenders, or does it stand alone? One that more
probably stands alone lends nothing, and is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from cropkt.borrowing.axes import AXES, Axes, Moments, build_axes, cohort_moments
from cropkt.borrowing.prior import CohortModel, fit_cohort_model
from cropkt.borrowing.summary import Summary, summarise
from cropkt.data.study import Cohort
from cropkt.errors import InputError

PRIOR_PROBABILITY = 0.9
"""That a cohort shares what drives survival with others, before outcomes are seen."""
FEWEST = 3
"""Screening needs this many lenders that go together; with fewer, all lend."""


@dataclass(frozen=True)
class CohortPatients:
    """N patients of a cohort: features (N, D) their mean features, time (N,) days, event (N,) 0/1."""

    cohort: str
    features: np.ndarray
    time: np.ndarray
    event: np.ndarray


@dataclass(frozen=True)
class Lenders:
    """Fitted once per target, from the other cohorts alone.

    model: of the cohorts that lend. sharing: by cohort, the probability that it goes with the others. apart: cohorts
    that probably do not, and so lend nothing.
    """

    axes: Axes
    model: CohortModel
    sharing: dict[str, float]
    apart: tuple[str, ...]


def gather_lenders(
    others: Sequence[CohortPatients], *, axes: int = AXES, moments: Sequence[Moments] | None = None
) -> Lenders:
    """Axes, summaries and model of `others`, which must not hold the target.

    `moments` are those of `others`, in any order; None computes them. Compute them once where many targets take turns.
    """
    built = build_axes(moments or [cohort_moments(other.cohort, other.features) for other in others], axes)
    summaries = [summarise(other.cohort, other.features, other.time, other.event, built) for other in others]
    return screen_lenders(built, summaries)


def screen_lenders(axes: Axes, summaries: Sequence[Summary]) -> Lenders:
    """Lenders from their summaries alone. Raises InputError for a summary that was made on other axes."""
    foreign = [summary.cohort for summary in summaries if summary.axes != axes.fingerprint]
    if foreign:
        raise InputError(f"summaries of {', '.join(foreign)} were made on other axes; summarise them on these")
    everyone = fit_cohort_model(summaries)
    sharing = {summary.cohort: _sharing(everyone, number) for number, summary in enumerate(summaries)}
    kept = [summary for summary in summaries if sharing[summary.cohort] >= 0.5]
    if len(kept) == len(summaries) or len(kept) < FEWEST:
        return Lenders(axes, everyone, sharing, ())
    apart = tuple(cohort for cohort, probability in sharing.items() if probability < 0.5)
    return Lenders(axes, fit_cohort_model(kept), sharing, apart)


def _sharing(everyone: CohortModel, number: int) -> float:
    """The probability that lender `number` goes with all others, under the hyper-parameters of all."""
    summary, hyper = everyone.summaries[number], everyone.hyperparameters
    alone = np.diag(hyper.variance * hyper.axis_variances(len(summary.linear)))
    gain = _log_evidence(summary, *everyone.without(number))
    return float(expit(logit(PRIOR_PROBABILITY) + gain - _log_evidence(summary, np.zeros(len(alone)), alone)))


def _log_evidence(summary: Summary, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Log of exp(r'b - b'H b / 2) averaged over b ~ N(mean, covariance)."""
    information, linear = summary.information, summary.linear
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    inner = np.eye(len(mean)) + root.T @ information @ root
    slope = root.T @ (linear - information @ mean)
    at_mean = linear @ mean - 0.5 * mean @ information @ mean
    return float(at_mean + 0.5 * slope @ np.linalg.solve(inner, slope) - 0.5 * np.linalg.slogdet(inner)[1])


def lender_codes(cohorts: Mapping[str, Cohort], target: str, sources: Sequence[str]) -> list[str]:
    """Those of `sources` that may lend to `target`: other cohorts that share no patient with it.

    A cohort needs two patients to have moments.
    """
    patients = cohorts[target].labels.index
    return [
        code
        for code in sources
        if code != target and len(cohorts[code].labels) > 1 and not cohorts[code].labels.index.isin(patients).any()
    ]
