"""What routing was worth over several targets and simulated studies, and whether gates favour who truly helps."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from cropkt.survival.paired import mean_with_interval

RIVALS = ("self", "honest", "fusion_mean", "fusion_tuned", "rank_average", "finetune_head")
"""What ROUPKT is set against, target by target."""


def method_summary(methods: pd.DataFrame) -> pd.DataFrame:
    """One row a method: mean pooled C-index over targets (and studies) with a 95 % interval, and their number.

    `methods` are rows of routing.parquet, `study` added. Each target of a study counts once, whatever its size, as an
    independent case: targets of one study share their sources, so intervals are, if anything, short.
    """
    rows = []
    for method, values in methods.groupby("method", sort=False)["c_index_pooled"]:
        rows.append({"method": method, **mean_with_interval(values.dropna().to_numpy(dtype=float))})
    return pd.DataFrame(rows)


def paired_differences(methods: pd.DataFrame, of: str = "roupkt", rivals: tuple[str, ...] = RIVALS) -> pd.DataFrame:
    """One row a rival: mean difference of the pooled C-indices of `of` and the rival on the same target, 95 % interval,
    and the share of targets in which `of` is ahead."""
    wide = methods.pivot_table(index=["study", "target"], columns="method", values="c_index_pooled")
    rows = []
    for rival in rivals:
        if rival in wide and of in wide:
            difference = (wide[of] - wide[rival]).dropna().to_numpy(dtype=float)
            ahead = float((difference > 0).mean()) if len(difference) else np.nan
            rows.append({"against": rival, **mean_with_interval(difference), "ahead": ahead})
    return pd.DataFrame(rows)


def group_shares(gates: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """One row a target with a planted group: share of the sources' gate mass (own model apart) on sources of the group,
    the share that equal gates would give it, and the rank correlation of gates with the sources' true C-index.

    `gates` are rows of gates.parquet, `truth` the simulated study's truth.parquet.
    """
    rows = []
    for target, of_target in gates.groupby("target", sort=False):
        known = truth[(truth["target"] == target) & (truth["source"] != target)].set_index("source")
        mass = of_target.groupby("expert")["gate"].sum()
        mass = mass[mass.index.isin(known.index)]
        known = known.loc[mass.index]
        related = spearmanr(mass, known["c_index_true"]).statistic if len(mass) > 2 else np.nan
        helped = known["same_group"].astype(bool)
        rows.append(
            {
                "target": target,
                "group_share": float(mass[helped].sum() / mass.sum()) if helped.any() else np.nan,
                "equal_share": float(helped.mean()) if helped.any() else np.nan,
                "rank_correlation": float(related),
            }
        )
    return pd.DataFrame(rows)
