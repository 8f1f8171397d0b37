"""The tables of an analysis, regression_NAME.csv: what a row is, and what each column means (docs/tables.md)."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from cropkt.factors.statistics.prediction import METHODS


@dataclass(frozen=True)
class AnalysisTable:
    """A table of an analysis: there is one row per `row`; meaning by column, in their order."""

    name: str
    row: str
    columns: Mapping[str, str]

    @property
    def path(self) -> str:
        """Its file, relative to the results folder."""
        return f"regression_{self.name}.csv"

    def check(self, table: pd.DataFrame) -> None:
        """Raises ValueError where `table` has other columns than are declared; one without rows may have none."""
        odd = set(table.columns) ^ set(self.columns)
        if len(table) and odd:
            raise ValueError(
                f"{self.path}: declare or remove the columns {', '.join(sorted(odd))} (factors/columns.py)"
            )


_FACTOR = {
    "factor": "name of the factor; source: or target: before a fact about one of the two cohorts; const: the constant",
    "label": "the factor in words",
}
_EFFECT = {
    "coefficient": "change of the C-index per standard deviation of the factor",
    "standard_error": "standard error of coefficient",
    "lower": "lower end of the 95 % interval of coefficient",
    "upper": "upper end of the 95 % interval of coefficient",
}
_TESTS = {
    "p_mixed": "two-sided p-value of the mixed model",
    "p_qap": "p-value of permuting cohorts as sources and as targets together",
    "p_value": "the largest of p_qap and the p-values of permuting sources alone and targets alone; the one to quote",
}
_FAMILY = {
    "uses_target_outcomes": "True for circular factors: they use outcomes of the patients the C-index is measured on",
    "q_value": "false discovery rate (Benjamini and Hochberg) over the table's other factors; null for circular ones",
}
_REGRESSION = {
    **_FACTOR,
    **_EFFECT,
    "p_value": "two-sided p-value of the regression, which takes cells for independent unless it is the mixed model",
    "n": "cells the regression used",
    "r_squared": "share of the variance explained; for beta regression the squared correlation of predicted and "
    "measured on the logit",
}
_ON_LOGIT = {"coefficient": "change of the C-index's logit per standard deviation of the factor"}
_REGRETS = {
    "regret": "C-index of the best source less that of the chosen one",
    "regret_random": "C-index of the best source less the mean over sources: what a random choice loses",
}

ANALYSIS_TABLES = {
    table.name: table
    for table in (
        AnalysisTable("intra_ols", "factor; least squares on the C-index of cohorts' own models", _REGRESSION),
        AnalysisTable("inter_ols", "factor; least squares on the C-index between cohorts", _REGRESSION),
        AnalysisTable(
            "inter_beta", "factor; beta regression on the C-index between cohorts", {**_REGRESSION, **_ON_LOGIT}
        ),
        AnalysisTable("inter_mixed", "factor; mixed model of the C-index between cohorts", _REGRESSION),
        AnalysisTable(
            "factors",
            "factor, each alone",
            {
                **_FACTOR,
                "level": "pair, or the cohort the fact is about: source, target",
                "needs": "what a cohort must have for it: features, labels, or a model",
                **_EFFECT,
                "explained": "share of the variance that it explains, beyond what is held fixed",
                "p_ols": "p-value of least squares, which takes cells for independent: too small",
                **_TESTS,
                **_FAMILY,
            },
        ),
        AnalysisTable(
            "joint",
            "factor and model of a few factors together",
            {
                "model": "which factors are together: those known before training, or those of the models too",
                **_FACTOR,
                **_EFFECT,
                **_TESTS,
                **_FAMILY,
            },
        ),
        AnalysisTable(
            "variance",
            "part of the variance of the C-index between cohorts",
            {
                "part": "source, target, pair, chance shared by a target's cells, chance of one cell",
                "variance": "variance of the part, in squares of the C-index",
                "share": "variance over the sum of all parts",
            },
        ),
        AnalysisTable(
            "horizons",
            "horizon of restricted mean survival",
            {
                "horizon_days": "the horizon, in days",
                "rank_correlation": "Spearman correlation of cohorts' restricted means with those at 3 years",
                "coefficient": "effect of the pair's absolute difference on the C-index, per standard deviation",
                "p_mixed": "two-sided p-value of coefficient by the mixed model",
            },
        ),
        AnalysisTable(
            "attention",
            "set of pairs that are compared",
            {
                "over": "all pairs, or those within a target, or within a source",
                "rank_correlation": "Spearman correlation of shared attention with the C-index; a mean over groups",
                "groups": "how many groups it is a mean over",
            },
        ),
        AnalysisTable(
            "prediction",
            "method to choose a source, over targets left out",
            {
                "method": "name of the method",
                "what": "the method in words",
                "r_squared": "1 - squared error over that of the other targets' mean C-index; null for mere rankings",
                "rank_correlation": "Spearman correlation of predicted and measured within a target, mean over targets",
                **_REGRETS,
                "regret_error": "standard error of regret over targets",
                "saved": "regret_random - regret",
                "p_value": "one-sided p-value of saved, Wilcoxon's signed ranks over targets",
                "targets": "how many targets",
            },
        ),
        AnalysisTable(
            "prediction_by_target",
            "target left out and method",
            {
                "target": "the target cohort",
                "method": "name of the method",
                "rank_correlation": "Spearman correlation of predicted and measured C-index over its sources",
                "chosen": "the source with the highest prediction",
                "c_index_chosen": "pooled C-index of the chosen source",
                "c_index_oracle": "pooled C-index of the best source",
                **_REGRETS,
            },
        ),
        AnalysisTable(
            "predicted",
            "measured pair, its target left out",
            {
                "source": "the source cohort",
                "target": "the target cohort",
                "c_index_pooled": "pooled C-index, measured",
                "standard_error": "its standard error",
                "baseline": "weighted mean C-index of the pairs without this target",
                **{f"predicted:{method}": f"prediction by {what}" for method, what in METHODS.items()},
            },
        ),
        AnalysisTable(
            "effects",
            "cohort",
            {
                "cohort": "the cohort",
                "source_effect": "how far its C-index as a source lies above the average source's (random effect)",
                "target_effect": "how far the C-index on it lies above the average target's (random effect)",
                "source_error": "standard error of source_effect, the model's variances taken as they are",
                "target_error": "standard error of target_effect, the model's variances taken as they are",
            },
        ),
    )
}
"""By name, in the order of `Analysis`."""
