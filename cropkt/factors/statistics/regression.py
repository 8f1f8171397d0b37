"""Tables of coefficients: ordinary least squares as published, beta regression, and the mixed model.

Factors are standardised, so a coefficient is the change of the C-index (of its logit, in beta regression) for one
standard deviation of the factor. Rows with an unknown factor are left out, and factors that do not vary are too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.othermod.betareg import BetaModel

from cropkt.factors.catalogue import label_of
from cropkt.factors.statistics.mixed import MixedFit, fit_mixed, own_variance

Errors = Mapping[str, pd.DataFrame]
"""By target: covariance (sources x sources) of the errors of its cells."""
COLUMNS = ["factor", "label", "coefficient", "standard_error", "lower", "upper", "p_value", "n", "r_squared"]


def usable(table: pd.DataFrame, outcome: str, names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Rows of `table` with an outcome and all factors, and the factors that vary among them.

    Factors that are nearly never known (under half the rows) are dropped rather than their rows.
    """
    table = table[np.isfinite(table[outcome])]
    kept = [name for name in names if name in table and np.isfinite(table[name]).mean() >= 0.5]
    table = table.loc[np.isfinite(table[kept].to_numpy(dtype=float)).all(axis=1)]
    varying = [name for name in kept if len(table) and table[name].std() > 1e-12 * max(1.0, table[name].abs().max())]
    return table, varying


def standardised(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The factors with mean 0 and standard deviation 1."""
    values = table[list(names)].astype(float)
    return (values - values.mean()) / values.std(ddof=0)


def ols_table(table: pd.DataFrame, outcome: str, names: Sequence[str]) -> pd.DataFrame:
    """Ordinary least squares; p-values take every row for an independent fact, which pairs are not."""
    rows, names = usable(table, outcome, names)
    if len(rows) < len(names) + 3:
        return pd.DataFrame(columns=COLUMNS)
    fit = sm.OLS(rows[outcome], sm.add_constant(standardised(rows, names), has_constant="add")).fit()
    return _frame(fit.params, fit.bse, fit.pvalues, fit.conf_int(), len(rows), fit.rsquared)


def beta_table(table: pd.DataFrame, outcome: str, names: Sequence[str]) -> pd.DataFrame:
    """Beta regression with a logit link (Ferrari and Cribari-Neto 2004), for a score between 0 and 1.

    A C-index of exactly 0 or 1 is moved inside by half a row (Smithson and Verkuilen 2006). r_squared is the squared
    correlation of the linear predictor and the outcome's logit.
    """
    rows, names = usable(table, outcome, names)
    if len(rows) < len(names) + 4:
        return pd.DataFrame(columns=COLUMNS)
    inside = (rows[outcome] * (len(rows) - 1) + 0.5) / len(rows)
    design = sm.add_constant(standardised(rows, names), has_constant="add")
    fit = BetaModel(inside, design).fit(disp=False)
    mean = list(design.columns)
    predicted = design.to_numpy() @ fit.params[mean].to_numpy()
    r_squared = np.corrcoef(predicted, np.log(inside / (1 - inside)))[0, 1] ** 2 if names else 0.0
    return _frame(fit.params[mean], fit.bse[mean], fit.pvalues[mean], fit.conf_int().loc[mean], len(rows), r_squared)


def mixed_table(
    table: pd.DataFrame, outcome: str, names: Sequence[str], errors: Errors
) -> tuple[pd.DataFrame, MixedFit]:
    """The mixed model of mixed.py, with the errors that cells of a target share.

    Names that start with `source:` or `target:` are cohort facts. r_squared is the share of the outcome's variance that
    the fixed part alone has.
    """
    rows, names = usable(table, outcome, names)
    rows = rows.reset_index(drop=True)
    levels = [name.partition(":")[0] if ":" in name else "pair" for name in names]
    source, target = pd.factorize(rows["source"])[0], pd.factorize(rows["target"])[0]
    design = np.column_stack([np.ones(len(rows)), standardised(rows, names).to_numpy()])
    values = rows[outcome].to_numpy(dtype=float)
    blocks = [
        (group.index.to_numpy(), errors[str(code)].loc[group["source"], group["source"]].to_numpy())
        for code, group in rows.groupby("target")
    ]
    fit = fit_mixed(values, design, source, target, blocks, levels=levels)
    index = ["const", *names]
    coefficient, error = pd.Series(fit.coefficient, index), pd.Series(fit.standard_error, index)
    interval = pd.DataFrame(dict(enumerate(fit.interval())), index)
    share = float((design @ fit.coefficient).var() / values.var())
    return _frame(coefficient, error, pd.Series(fit.p_value, index), interval, len(rows), share), fit


def shared_and_own(errors: Errors, table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """By target: the error variance that its cells share (mean covariance of two) and that a cell has of its own."""
    shared, own = {}, {}
    for target, group in table.groupby("target"):
        block = errors[str(target)].loc[group["source"], group["source"]].to_numpy()
        own[target] = own_variance(block)
        shared[target] = max(float(np.trace(block)) / len(block) - own[target], 0.0)
    return pd.Series(shared), pd.Series(own)


def with_cohort_facts(pairs: pd.DataFrame, cohorts: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The pair table with `source:NAME` and `target:NAME` for cohort facts."""
    facts = cohorts.set_index("cohort")[list(names)]
    sides = [facts.loc[pairs[side]].add_prefix(f"{side}:").set_index(pairs.index) for side in ("source", "target")]
    return pd.concat([pairs, *sides], axis=1)


def _frame(
    coefficient: pd.Series, error: pd.Series, p_value: pd.Series, interval: pd.DataFrame, count: int, r_squared: float
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "factor": coefficient.index,
            "label": [label_of(name) for name in coefficient.index],
            "coefficient": coefficient.to_numpy(),
            "standard_error": error.to_numpy(),
            "lower": interval[0].to_numpy(),
            "upper": interval[1].to_numpy(),
            "p_value": p_value.to_numpy(),
            "n": count,
            "r_squared": r_squared,
        }
    )
