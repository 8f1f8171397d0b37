"""Which degrees of freedom do intervals and p-values of C-indices need? Simulated at the shapes of 26 real cohorts.

A C-index with few events among many patients is a mean of few independent facts, one an event. A mean's variance is
estimated by the sum of squares over e (e - 1), not e^2, and has e - 1 degrees of freedom; the influences of the
U-statistic divide by e^2. With few patients and many events, events share their comparisons and know more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import logit
from scipy.stats import t as student_t

from cropkt.survival.checks.coverage import Setting, simulated_cohorts, true_c_index
from cropkt.survival.concordance import CombinedConcordance, score_all, standard_error

LEVELS = (0.05, 0.01, 0.001)


@dataclass(frozen=True)
class Shape:
    """A cohort's patients and events, and the share of its patients whose time is longer than an event's, on average
    over events: a following that ends early leaves few at risk, one that ends late many."""

    cohort: str
    patients: int
    events: int
    at_risk: float

    def setting(self, beta: float) -> Setting:
        """Simulated cohorts with as many patients and, on average, events, and about the same share at risk."""
        shape = np.log(2) / -np.log(self.at_risk)
        unit = (-np.log(1 - (np.arange(2000) + 0.5) / 2000)) ** (1 / shape)
        share = self.events / self.patients
        scale = brentq(lambda scale: (1 - np.exp(-scale * unit)).mean() - share, 1e-6, 1e3)
        return Setting(beta, scale, shape, self.patients)


SHAPES = tuple(
    Shape(*row)
    for row in (
        ("dlbc", 25, 3, 0.67),
        ("tgct", 133, 3, 0.86),
        ("pcpg", 174, 3, 0.43),
        ("thym", 120, 4, 0.45),
        ("prad", 401, 5, 0.43),
        ("thca", 500, 7, 0.57),
        ("chol", 34, 15, 0.54),
        ("acc", 54, 17, 0.66),
        ("uvm", 80, 21, 0.57),
        ("ucs", 55, 31, 0.59),
        ("meso", 55, 36, 0.55),
        ("cesc", 266, 49, 0.60),
        ("ucec", 504, 54, 0.65),
        ("ov", 92, 57, 0.48),
        ("sarc", 236, 75, 0.59),
        ("coadread", 589, 77, 0.62),
        ("paad", 176, 79, 0.55),
        ("brca", 1042, 79, 0.45),
        ("lihc", 356, 80, 0.49),
        ("blca", 372, 117, 0.60),
        ("hnsc", 427, 121, 0.65),
        ("kipan", 880, 144, 0.64),
        ("stes", 526, 144, 0.57),
        ("skcm", 412, 162, 0.49),
        ("lung", 854, 185, 0.53),
        ("gbmlgg", 843, 402, 0.54),
    )
)
"""TCGA's patients that have a diagnostic slide and disease-specific survival, fewest events first."""


@dataclass(frozen=True)
class Rule:
    """`times` (events - 1) degrees of freedom. widened: the error is multiplied by root(events / (events - 1)).
    compared: only events that somebody outlives count."""

    name: str
    times: int
    widened: bool
    compared: bool


RULES = (
    Rule("2 (e - 1)", 2, widened=False, compared=False),
    Rule("e - 1", 1, widened=False, compared=False),
    Rule("e - 1, widened", 1, widened=True, compared=False),
    Rule("e - 1, widened, compared events", 1, widened=True, compared=True),
)
QUESTIONS = ("within folds", "all pairs", "difference")


def rule_table(
    n_cohorts: int, seed: int, shapes: Sequence[Shape] = SHAPES, betas: Sequence[float] = (0.0, 0.7)
) -> pd.DataFrame:
    """A row a shape, strength, question and rule: the share of 95 % intervals that cover, and of p-values below LEVELS
    where the hypothesis is true; `nothing_said` is the share of cohorts with fewer than two events or no error.

    Questions: the C-index of five models within folds, the same over all pairs, the difference of two models that are
    equally good.
    """
    rows = []
    for number, shape in enumerate(shapes):
        for beta in betas:
            setting = shape.setting(beta)
            statistics = _statistics(setting, n_cohorts, seed, number)
            for question in QUESTIONS:
                for rule in RULES:
                    rows.append(_row(shape, beta, question, rule, statistics[question]))
    return pd.DataFrame(rows)


def summarise_rules(table: pd.DataFrame) -> pd.DataFrame:
    """By rule, question and class of events (fewer than 10, than 40, more): mean and extremes over shapes."""
    few = pd.cut(table["events"], [0, 9, 39, np.inf], labels=["3 to 9", "10 to 39", "40 and more"])
    grouped = table.assign(events=few).groupby(["question", "events", "rule"], observed=True, sort=False)
    columns = {"coverage": ("coverage", "mean"), "least": ("coverage", "min"), "most": ("coverage", "max")}
    sizes = {name: (name, "mean") for name in table.columns if name.startswith("below")}
    return grouped.agg(**columns, **sizes).reset_index()


def _statistics(setting: Setting, n_cohorts: int, seed: int, stream: int) -> dict[str, np.ndarray]:
    """By question (cohorts, 3): distance from the truth in standard errors, events, and compared events."""
    truth = true_c_index(setting, seed)
    found: dict[str, list[tuple[float, int, int]]] = {question: [] for question in QUESTIONS}
    for cohort in simulated_cohorts(setting, n_cohorts, seed, stream):
        events = int(cohort.event.sum())
        everybody = np.ones(cohort.risk.shape, dtype=bool)
        within = cohort.scores().pooled
        everyone = score_all(cohort.time, cohort.event, cohort.risk, everybody)
        found["within folds"].append((_distance(within, truth), events, within.events))
        found["all pairs"].append((_distance(everyone, truth), events, everyone.events))
        one, other = (cohort.scores(cohort.risk[[m]]).pooled for m in (0, 1))
        error = standard_error(one.influence - other.influence)
        z = (one.c_index - other.c_index) / error if error > 0 else np.nan
        found["difference"].append((z, events, one.events))
    return {question: np.array(rows, dtype=float) for question, rows in found.items()}


def _distance(found: CombinedConcordance, truth: float) -> float:
    error = found.standard_error
    if not (error > 0 and 0 < found.c_index < 1):
        return np.nan
    return float((logit(found.c_index) - logit(truth)) * found.c_index * (1 - found.c_index) / error)


def _row(shape: Shape, beta: float, question: str, rule: Rule, statistics: np.ndarray) -> dict[str, float | str]:
    events = statistics[:, 2 if rule.compared else 1]
    said = np.isfinite(statistics[:, 0]) & (events >= 2)
    events, z = events[said], np.abs(statistics[said, 0])
    if rule.widened:
        z = z * np.sqrt((events - 1) / events)
    p = 2 * student_t.sf(z, rule.times * (events - 1))
    sizes = {f"below_{level:g}": float((p < level).mean()) for level in LEVELS}
    return {
        "cohort": shape.cohort,
        "patients": shape.patients,
        "events": shape.events,
        "beta": beta,
        "question": question,
        "rule": rule.name,
        "coverage": float((p >= 0.05).mean()),
        **sizes,
        "nothing_said": float(1 - said.mean()),
    }
