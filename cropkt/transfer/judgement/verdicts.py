"""From comparisons to verdicts: false discoveries are controlled question by question, direction by direction.

Better and worse are two questions, each with one-sided p-values and Benjamini and Hochberg's q-values of its own over
the pairs between cohorts of one encoder and architecture: many pairs that are better do not make it easier to call one
worse. A source that is no cohort (all others together) is judged likewise, in families of its own. A verdict that asks
for several things at once has one q-value, from the largest of its one-sided p-values.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cropkt.transfer.baselines import BASELINES, Role
from cropkt.transfer.judgement.names import Verdict
from cropkt.transfer.significance import at_home, one_sided, q_values, questions, sources_beyond_cohorts

FEWEST_EVENTS = 5
FEWEST_PAIRS = 50
"""With fewer events, or fewer comparable pairs, the answer is "cannot tell", whatever the C-index."""
LEVEL = 0.05
KIND = ["encoder", "architecture"]
OF_TARGET = [*KIND, "target"]
UNTRAINED = ("no comparable pair", "no event")
"""Status of what could not be trained, or scored nobody who can be compared."""


def judge(pairs: pd.DataFrame) -> pd.DataFrame:
    """`pairs` (rows.PAIRS, baselines' rows too) with q-values, and verdict and confounders of what `compare` compares.

    Pairs with too few events or comparable pairs lose their p-values, count in no family, and are "cannot tell".
    """
    pairs = pairs.copy()
    too_few = (pairs["n_events"].fillna(0) < FEWEST_EVENTS) | (pairs["n_comparable"].fillna(0) < FEWEST_PAIRS)
    names = [name for name in questions() if f"p_{name}" in pairs]
    tests = [f"p_{name}" for name in names] + [name for name in ("p_beyond_clinical",) if name in pairs]
    pairs[tests] = pairs[tests].astype(float).where(~too_few, np.nan)
    judged = pairs["mode"].isin(["transfer", *sources_beyond_cohorts()])
    of_pairs = pairs[judged]
    better = {name: _better(of_pairs, name) for name in names}
    wanted = dict(better)
    wanted |= {f"below_{name}": 1 - p for name, p in better.items()}
    wanted["transfers"] = _largest([better["chance"], *_against_start(better, of_pairs.index)])
    wanted["worth_borrowing"] = _largest([wanted["transfers"], *_against_home(better, pairs, of_pairs)])
    if "p_beyond_clinical" in pairs:
        wanted["beyond_clinical"] = one_sided(
            of_pairs["p_beyond_clinical"], of_pairs["hazard_ratio_beyond_clinical"] - 1
        )
    for name, p in wanted.items():
        pairs[f"q_{name}"] = q_of_families(of_pairs[[*KIND, "mode"]], p).reindex(pairs.index)
    pairs["verdict"] = _verdicts(pairs).where(judged)
    pairs["confounded_by"] = _confounded_by(pairs).where(judged)
    return pairs


def judge_methods(methods: pd.DataFrame) -> pd.DataFrame:
    """`methods` (rows.CHOICE or rows.ROUTING) with q-values; neither the own model nor the oracle is in a family."""
    better = one_sided(methods["p_self"], methods["difference_self"])
    return methods.assign(
        q_self=q_of_families(methods[KIND], better), q_home=q_of_families(methods[KIND], methods["p_home"])
    )


def q_of_families(kinds: pd.DataFrame, p_values: pd.Series) -> pd.Series:
    """q-values of `p_values`, a family for each row that `kinds` has: encoder, architecture and, of pairs, mode."""
    found = pd.Series(np.nan, p_values.index, dtype=float)
    for _, family in kinds.groupby(list(kinds.columns)):
        found[family.index] = q_values(p_values[family.index])
    return found


def _better(pairs: pd.DataFrame, name: str) -> pd.Series:
    """One-sided p-values of "better than `name`"."""
    difference = pairs["c_index_pooled"] - 0.5 if name == "chance" else pairs[f"difference_{name}"]
    return one_sided(pairs[f"p_{name}"], difference.astype(float))


def _largest(p_values: Sequence[pd.Series]) -> pd.Series:
    """The largest p-value of each pair, NaN where one is missing: what was not compared has not been beaten."""
    return pd.concat(p_values, axis=1).max(axis=1, skipna=False)


def _against_start(better: Mapping[str, pd.Series], index: pd.Index) -> list[pd.Series]:
    """One-sided p-values of "better than the untrained start"; NaN where it was not measured."""
    names = [baseline.name for baseline in BASELINES.records() if baseline.role == Role.START]
    return [better.get(name, pd.Series(np.nan, index)) for name in names]


def _against_home(better: Mapping[str, pd.Series], pairs: pd.DataFrame, of_pairs: pd.DataFrame) -> list[pd.Series]:
    """One-sided p-values, of `of_pairs` among `pairs`, of "better than" the target's own model and each baseline that
    it can train at home.

    NaN where one was not measured. What a target cannot train, because its patients are too few, is nothing to beat;
    but something must have been compared.
    """
    targets = pd.MultiIndex.from_frame(of_pairs[OF_TARGET])
    found, absent = [], []
    for name in at_home():
        untrained = pairs[(pairs["mode"] == name) & pairs["status"].isin(UNTRAINED)]
        absent.append(targets.isin(pd.MultiIndex.from_frame(untrained[OF_TARGET])))
        found.append(better.get(name, pd.Series(np.nan, of_pairs.index)).mask(absent[-1], 0.0))
    nothing = np.logical_and.reduce(absent)
    return [*found, pd.Series(np.where(nothing, np.nan, 0.0), of_pairs.index)]


def _verdicts(pairs: pd.DataFrame) -> pd.Series:
    """The first that holds; "not shown" where none does."""
    shown = {name: pairs[f"q_{name}"] < LEVEL for name in ("chance", "below_chance", "transfers", "worth_borrowing")}
    holds = {
        Verdict.CANNOT_TELL: pairs["p_chance"].isna(),
        Verdict.WORSE_THAN_CHANCE: shown["below_chance"],
        Verdict.WORTH_BORROWING: shown["chance"] & shown["transfers"] & shown["worth_borrowing"],
        Verdict.TRANSFERS: shown["chance"] & shown["transfers"],
        Verdict.BETTER_THAN_CHANCE: shown["chance"],
    }
    chosen = np.select([np.asarray(where) for where in holds.values()], list(map(str, holds)), str(Verdict.NOT_SHOWN))
    return pd.Series(chosen, index=pairs.index, dtype=object)


def _confounded_by(pairs: pd.DataFrame) -> pd.Series:
    """Names of the confounders that reach each row's interval alone, "" without one."""
    found = pd.Series("", index=pairs.index, dtype=object)
    targets = pd.MultiIndex.from_frame(pairs[OF_TARGET])
    for baseline in BASELINES.records():
        of_baseline = pairs[pairs["mode"] == baseline.name]
        known = of_baseline[(of_baseline["p_chance"] < LEVEL) & (of_baseline["c_index_pooled"] > 0.5)]
        if baseline.role != Role.CONFOUNDER or known.empty:
            continue
        alone = known.set_index(OF_TARGET)["c_index_pooled"].reindex(targets).to_numpy()
        reached = (alone >= pairs["interval_lower"]) & (pairs["c_index_pooled"] > 0.5)
        found = found.mask(reached, found.where(found == "", found + ", ") + baseline.name)
    return found
