"""How well factors predict a target they never saw: every cohort is left out in turn, as target and as source.

What is predicted is the C-index of each source on the target left out; what is chosen is the source with the highest
prediction. The predictors see only what a cohort without outcomes has: its slides, and facts and results of the others.
"""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr, wilcoxon
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cropkt.factors.statistics.effects import OUTCOME
from cropkt.factors.statistics.regression import with_cohort_facts

PAIR = ("same_organ", "same_group", "mmd_patches", "mmd_patients", "frechet_patches", "accuracy_patients", "size_gap")
SOURCE = ("log_patients", "event_rate", "rmst", "dispersion_patches", "participation_ratio")
TARGET = ("dispersion_patches", "participation_ratio", "log_patients")
METHODS = {
    "factors": "ridge regression on factors of pair, source and target's slides",
    "factors and source's record": "the same, and the source's mean C-index on the other targets",
    "source's record": "the source's mean C-index on the other targets",
    "nearest": "the source nearest by maximum mean discrepancy of patches",
    "same group first": "sources of the target's histology group, then the source's record",
}
PAIR_SPREAD = 0.03
"""Standard deviation of the C-index between pairs beyond chance: for weights, no cell is surer than this."""
ALPHAS = np.logspace(-1, 4, 16)


def predict_left_out(pairs: pd.DataFrame, cohorts: pd.DataFrame) -> pd.DataFrame:
    """One row per measured pair: source, target, its C-index, and each method's prediction (`predicted:METHOD`)."""
    names = [f"source:{name}" for name in SOURCE] + [f"target:{name}" for name in TARGET] + list(PAIR)
    table = with_cohort_facts(pairs, cohorts, sorted({*SOURCE, *TARGET}))
    table = table[np.isfinite(table[OUTCOME])].reset_index(drop=True)
    errors = table["standard_error"].where(table["standard_error"] > 0)
    table = table.assign(weight=1 / (errors.fillna(errors.max()) ** 2 + PAIR_SPREAD**2))
    known = table[names].notna().all()
    names = [name for name in names if known[name]]
    parts = [_left_out(table, names, target) for target in table["target"].unique()]
    return pd.concat(parts, ignore_index=True)


def score_predictions(predicted: pd.DataFrame) -> pd.DataFrame:
    """One row per target and method: rank correlation within the target, C-index of the source chosen, regrets.

    regret: the best source's C-index less the chosen one's; regret_random: less the mean over sources, what a random
    choice loses on average. The best one is picked by the same patients, so every regret is somewhat too large.
    """
    rows = []
    for target, group in predicted.groupby("target", sort=False):
        if len(group) < 3:
            continue
        best = group[OUTCOME].max()
        for method in METHODS:
            values = group[f"predicted:{method}"]
            chosen = group.iloc[int(values.to_numpy().argmax())]
            rows.append(
                {
                    "target": target,
                    "method": method,
                    "rank_correlation": spearmanr(values, group[OUTCOME])[0] if values.nunique() > 1 else np.nan,
                    "chosen": chosen["source"],
                    "c_index_chosen": chosen[OUTCOME],
                    "c_index_oracle": best,
                    "regret": best - chosen[OUTCOME],
                    "regret_random": best - group[OUTCOME].mean(),
                }
            )
    return pd.DataFrame(rows)


def summarise_predictions(predicted: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """One row per method, over all targets: R2 against the mean of the other targets, mean rank correlation, regrets,
    and the p-value of "no less regret than random" (Wilcoxon's signed ranks over targets)."""
    rows = []
    for method in METHODS:
        of_method = scores[scores["method"] == method]
        error = np.square(predicted[OUTCOME] - predicted[f"predicted:{method}"]).sum()
        around = np.square(predicted[OUTCOME] - predicted["baseline"]).sum()
        saved = of_method["regret_random"] - of_method["regret"]
        calibrated = method not in ("nearest", "same group first")
        rows.append(
            {
                "method": method,
                "what": METHODS[method],
                "r_squared": 1 - error / around if calibrated else np.nan,
                "rank_correlation": of_method["rank_correlation"].mean(),
                "regret": of_method["regret"].mean(),
                "regret_random": of_method["regret_random"].mean(),
                "regret_error": of_method["regret"].sem(),
                "saved": saved.mean(),
                "p_value": wilcoxon(saved, alternative="greater").pvalue if (saved != 0).any() else np.nan,
                "targets": len(of_method),
            }
        )
    return pd.DataFrame(rows)


def verdict(summary: pd.DataFrame, scores: pd.DataFrame, level: float = 0.05) -> str:
    """Is the prediction useful? One honest sentence or two, from `summarise_predictions` and `score_predictions`."""
    of = summary.set_index("method")
    predictor = "factors and source's record"
    best = of.loc[predictor]
    p_random = float(of["p_value"][predictor])
    rules = of.drop(index=["factors", predictor])
    rule = rules.iloc[int(rules["regret"].to_numpy().argmin())]
    told = (
        f"Choosing a left-out target's source by predicted C-index loses {best['regret']:.3f} to the best one, a "
        f"random source {best['regret_random']:.3f} ({best['targets']:.0f} targets, {_p(p_random)}); the best simple "
        f"rule, {rule.name} ({rule['what']}), loses {rule['regret']:.3f}"
    )
    if not p_random < level:
        return f"{told}. The prediction is not shown to be useful."
    share = f"saves {best['saved'] / best['regret_random']:.0%} of a random choice's regret"
    regret = scores.pivot(index="target", columns="method", values="regret")
    less = regret[rule.name] - regret[predictor]
    p_value = wilcoxon(less).pvalue if (less != 0).any() else 1.0
    if p_value >= level:
        return (
            f"{told}. The prediction is useful: it {share}; that it beats the simple rule is not shown ({_p(p_value)})."
        )
    if less.mean() > 0:
        return f"{told}. The prediction is useful: it {share}, more than the simple rule does ({_p(p_value)})."
    return f"{told}. The prediction {share}, but the simple rule saves more ({_p(p_value)}): use the rule."


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _left_out(table: pd.DataFrame, names: list[str], target: str) -> pd.DataFrame:
    test = table[table["target"] == target]
    train = table[(table["target"] != target) & (table["source"] != target)]
    # In training, too, a source's record must not contain the very cell that is to be predicted.
    record = _record(train)
    record_of_others = _record_without_own(train)
    overall = float(np.average(train[OUTCOME], weights=train["weight"]))
    of_source = test["source"].map(record).fillna(overall)
    predictions = {
        "factors": _ridge(train[names], train, test[names]),
        "factors and source's record": _ridge(
            train[names].assign(record=record_of_others), train, test[names].assign(record=of_source)
        ),
        "source's record": of_source.to_numpy(),
        "nearest": -test["mmd_patches"].to_numpy(),
        "same group first": of_source.to_numpy() + 10 * test["same_group"].to_numpy(),
    }
    columns = {f"predicted:{method}": values for method, values in predictions.items()}
    return test[["source", "target", OUTCOME, "standard_error"]].assign(baseline=overall, **columns)


def _record(train: pd.DataFrame) -> pd.Series:
    """Each source's mean C-index less its targets' means, plus the overall mean: some targets are easier."""
    adjusted = train[OUTCOME] - train.groupby("target")[OUTCOME].transform("mean") + train[OUTCOME].mean()
    return adjusted.groupby(train["source"]).mean()


def _record_without_own(train: pd.DataFrame) -> np.ndarray:
    adjusted = train[OUTCOME] - train.groupby("target")[OUTCOME].transform("mean") + train[OUTCOME].mean()
    by_source = adjusted.groupby(train["source"])
    total, count = by_source.transform("sum"), by_source.transform("size")
    return np.where(count > 1, (total - adjusted) / np.maximum(count - 1, 1), train[OUTCOME].mean())


def _ridge(factors: pd.DataFrame, train: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
    model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
    model.fit(factors.to_numpy(), train[OUTCOME].to_numpy(), ridgecv__sample_weight=train["weight"].to_numpy())
    return model.predict(asked.to_numpy())
