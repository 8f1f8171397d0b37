"""Ten lines at the end of a sweep: how much transfers, and which source to take for which target."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cropkt.transfer.judgement.names import PROVEN, Verdict
from cropkt.transfer.source_choice import choice_sentence

TARGETS = 8
"""Targets named; with the first and the last line that makes ten."""


def summary(pairs: pd.DataFrame, choice: pd.DataFrame) -> list[str]:
    """At most ten lines. `pairs`: rows of pairs.parquet between and within cohorts; `choice`: source_choice.parquet.

    The source named is the one chosen on the target's training patients ("honest"; in most folds, where they differ),
    and the C-index is what this choice reaches on the test patients. The pair with the best C-index on the test
    patients would look better, and be so by chance. The target comes first for which the choice beats its own model
    most clearly (p of the difference); those without an interval have too few events to be named.
    """
    away = pairs[pairs["mode"] == "transfer"]
    if away.empty:
        return []
    targets = [line for _, line in sorted(_targets(choice), key=lambda found: -found[0])]
    more = [f"{len(targets) - TARGETS} more targets: report.html"] if len(targets) > TARGETS else []
    return [_counted(away), *targets[:TARGETS], *more]


def _counted(away: pd.DataFrame) -> str:
    transfer, more = away["verdict"].isin(PROVEN).sum(), (away["verdict"] == Verdict.BETTER_THAN_CHANCE).sum()
    return f"{transfer} of {len(away)} pairs between cohorts transfer, {more} more are better than chance"


def _targets(choice: pd.DataFrame) -> Iterator[tuple[float, str]]:
    """(how clearly the choice beats the own model, -1 to 1; sentence) of every target that can be named."""
    own = choice[choice["method"] == "self"].set_index("target")["c_index_pooled"]
    for row in choice[choice["method"] == "honest"].to_dict("records"):
        if np.isfinite(row["interval_lower"]):
            clear = np.sign(row["difference_self"]) * (1 - row["p_self"])
            yield np.nan_to_num(clear, nan=-1.0), choice_sentence(row, float(own.get(row["target"], np.nan)))
