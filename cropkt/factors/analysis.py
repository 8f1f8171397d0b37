"""The whole analysis of a transfer matrix, from the two tables of facts to tables of results, and their files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from cropkt.factors.catalogue import INTER, INTRA
from cropkt.factors.columns import ANALYSIS_TABLES
from cropkt.factors.statistics.effects import (
    OUTCOME,
    factor_names,
    factor_table,
    irrelevant_factors,
    joint_table,
    variance_table,
)
from cropkt.factors.statistics.mixed import MixedFit
from cropkt.factors.statistics.permutation import PERMUTATIONS
from cropkt.factors.statistics.prediction import predict_left_out, score_predictions, summarise_predictions
from cropkt.factors.statistics.regression import Errors, beta_table, mixed_table, ols_table, usable
from cropkt.files import atomic_path
from cropkt.survival.restricted_mean import HORIZONS


@dataclass(frozen=True)
class Analysis:
    """Tables of results; factors/columns.py describes them. `null` is the mixed model without factors."""

    intra_ols: pd.DataFrame
    inter_ols: pd.DataFrame
    inter_beta: pd.DataFrame
    inter_mixed: pd.DataFrame
    factors: pd.DataFrame
    joint: pd.DataFrame
    variance: pd.DataFrame
    horizons: pd.DataFrame
    attention: pd.DataFrame
    prediction: pd.DataFrame
    prediction_by_target: pd.DataFrame
    predicted: pd.DataFrame
    effects: pd.DataFrame
    null: MixedFit


def analyse(
    cohorts: pd.DataFrame,
    pairs: pd.DataFrame,
    errors: Errors,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> Analysis:
    """All tables from factors_cohort (`cohorts`) and factors_pair (`pairs`), with two irrelevant factors beside."""
    of_cohorts, of_pairs = irrelevant_factors(list(cohorts["cohort"]), seed)
    cohorts = cohorts.merge(of_cohorts, on="cohort")
    pairs = pairs.merge(of_pairs, on=["source", "target"])
    variance, null = variance_table(pairs, errors)
    own = cohorts.rename(columns={"c_index_self": OUTCOME})
    predicted = predict_left_out(pairs, cohorts)
    scores = score_predictions(predicted)
    return Analysis(
        intra_ols=ols_table(own, OUTCOME, INTRA),
        inter_ols=ols_table(pairs, OUTCOME, INTER),
        inter_beta=beta_table(pairs, OUTCOME, INTER),
        inter_mixed=mixed_table(pairs, OUTCOME, INTER, errors)[0],
        factors=factor_table(
            pairs, cohorts, null, errors, factor_names(pairs, cohorts), seed=seed, permutations=permutations
        ),
        joint=joint_table(pairs, cohorts, null, errors, seed=seed, permutations=permutations),
        variance=variance,
        horizons=horizon_table(pairs, cohorts, errors),
        attention=attention_table(pairs),
        prediction=summarise_predictions(predicted, scores),
        prediction_by_target=scores,
        predicted=predicted,
        effects=effect_table(pairs, cohorts, null),
        null=null,
    )


def effect_table(pairs: pd.DataFrame, cohorts: pd.DataFrame, null: MixedFit) -> pd.DataFrame:
    """How good a source and how easy a target each cohort is: the mixed model's random effects and their standard
    errors, NaN without a cell."""
    rows, _ = usable(pairs, OUTCOME, [])
    found = {
        ("source", "effect"): null.source_effect,
        ("target", "effect"): null.target_effect,
        ("source", "error"): null.source_error,
        ("target", "error"): null.target_error,
    }
    columns = {
        f"{side}_{what}": cohorts["cohort"].map(dict(zip(pd.factorize(rows[side])[1], values, strict=True)))
        for (side, what), values in found.items()
    }
    return pd.DataFrame({"cohort": cohorts["cohort"], **columns})


def horizon_table(pairs: pd.DataFrame, cohorts: pd.DataFrame, errors: Errors) -> pd.DataFrame:
    """Does the horizon of restricted mean survival matter? One row per horizon.

    rank_correlation: of cohorts with the default horizon's. coefficient, p_mixed: of the pair's absolute difference.
    """
    rows = []
    for name, days in HORIZONS.items():
        table, _ = mixed_table(pairs, OUTCOME, [f"rmst_{name}_gap"], errors)
        of_gap = table[table["factor"] == f"rmst_{name}_gap"]
        rows.append(
            {
                "horizon_days": days,
                "rank_correlation": spearmanr(cohorts[f"rmst_{name}"], cohorts["rmst"])[0],
                "coefficient": of_gap["coefficient"].iloc[0] if len(of_gap) else np.nan,
                "p_mixed": of_gap["p_value"].iloc[0] if len(of_gap) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def attention_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Do pairs whose models look at the same patches score higher? Rank correlations with the C-index."""
    known = pairs[np.isfinite(pairs["attention_overlap"]) & np.isfinite(pairs[OUTCOME])]
    rows = [{"over": "all pairs", "rank_correlation": _ranks(known), "groups": 1}]
    for side in ("target", "source"):
        within = [_ranks(group) for _, group in known.groupby(side) if len(group) > 3]
        rows.append({"over": f"within a {side}, mean", "rank_correlation": _mean(within), "groups": len(within)})
    return pd.DataFrame(rows)


def write_analysis(out: Path, analysis: Analysis) -> list[Path]:
    """Write every table as `out`/regression_NAME.csv; returns the paths. Raises ValueError for an undeclared column."""
    paths = []
    for name, declared in ANALYSIS_TABLES.items():
        table = getattr(analysis, name)
        declared.check(table)
        paths.append(out / declared.path)
        with atomic_path(paths[-1]) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    return paths


def _ranks(group: pd.DataFrame) -> float:
    if len(group) < 4 or group["attention_overlap"].nunique() < 2 or group[OUTCOME].nunique() < 2:
        return float("nan")
    return float(spearmanr(group["attention_overlap"], group[OUTCOME])[0])


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
