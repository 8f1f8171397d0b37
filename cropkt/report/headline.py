"""The first thing a reader sees: what was measured, what transfers, and what choosing a source costs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cropkt.report.read import VERDICTS, ResultTables, has_comparison

MEANING = {
    "transfers": "better than chance, than random weights and than a Cox model of mean features (each q < 0.05)",
    "better than chance": "above 0.5 (q < 0.05), but not shown to beat the baselines",
    "not shown": "no difference from 0.5 shown; says nothing of a difference too small for these patients",
    "worse than chance": "below 0.5 (q < 0.05): the source's knowledge points the wrong way",
    "cannot tell": "too few events or comparable patients for any answer; no colour, whatever the number",
    "failed": "could not be measured; hover over a cell for the reason",
    "not measured": "not part of this run",
}


def meanings(*, judged: bool) -> dict[str, str]:
    """What each state of a pair says, in words; `judged` is whether pairs were compared with the baselines."""
    alone = {} if judged else {"better than chance": "above 0.5 (q < 0.05); the baselines have not been measured"}
    return MEANING | alone


@dataclass(frozen=True)
class Line:
    """A row of the headline table. `state` names the mark shown in front, "" for none."""

    label: str
    value: str
    note: str
    state: str = ""


def headline(tables: ResultTables) -> tuple[str, list[Line]]:
    """One sentence, and the table below it."""
    away = tables.pairs[tables.pairs.index.get_level_values(0) != tables.pairs.index.get_level_values(1)]
    counts = away["state"].value_counts()
    measured = int(away["c_index_pooled"].notna().sum())
    lines = [
        Line("pairs between cohorts", f"{len(away)}", f"{measured} of them measured; each is one cell of the matrix")
    ]
    meaning = meanings(judged=tables.judged)
    for state in (*VERDICTS, "failed", "not measured"):
        if (state in VERDICTS and (tables.judged or state != "transfers")) or counts.get(state, 0):
            count = int(counts.get(state, 0))
            lines.append(Line(state, f"{count} ({100 * count / max(len(away), 1):.0f} %)", meaning[state], state))
    lines += [*_levels(tables, away), *_choices(tables)]
    return _sentence(tables, away, counts), lines


def _sentence(tables: ResultTables, away: pd.DataFrame, counts: pd.Series) -> str:
    if tables.judged:
        found = f"{counts.get('transfers', 0)} of {len(away)} pairs of cohorts transfer"
        more = "more " if counts.get("transfers", 0) else ""
        rest = f"{counts.get('better than chance', 0)} {more}beat chance, but not every baseline"
    else:
        found = f"{counts.get('better than chance', 0)} of {len(away)} pairs of cohorts are better than chance"
        rest = "the baselines have not been measured, so chance is all they were held against"
    wrong = counts.get("worse than chance", 0)
    backwards = f"; {wrong} {'points' if wrong == 1 else 'point'} the wrong way" if wrong else ""
    return f"{found}; {rest}{backwards}."


def _levels(tables: ResultTables, away: pd.DataFrame) -> list[Line]:
    own = tables.pairs[tables.pairs["mode"] == "self"]
    told = away[away["state"].isin(VERDICTS[:4])]
    lines = [
        Line("C-index within cohorts", _mean(own["c_index_mean"]), _also_pooled(own, "cohorts, matched folds only")),
        Line("C-index between cohorts", _mean(away["c_index_mean"]), _also_pooled(away, "pairs")),
    ]
    if len(told) < away["c_index_mean"].notna().sum():
        lines.append(Line("  without “cannot tell”", _mean(told["c_index_mean"]), _also_pooled(told, "pairs")))
    if has_comparison(tables, "self"):
        better = (away["difference_self"] > 0) & (away["q_self"] < 0.05)
        lines.append(
            Line("better than the target's own model", str(int(better.sum())), "pairs; on the same patients, q < 0.05")
        )
    return lines


def _choices(tables: ResultTables) -> list[Line]:
    gap = tables.choice[tables.choice["method"] == "honest"]["gap_to_oracle"].astype(float).dropna()
    if gap.empty:
        return []
    by_method = tables.choice.groupby("method")["c_index_pooled"].mean()
    means = ", ".join(f"{name} {by_method[name]:.3f}" for name in ("honest", "oracle") if name in by_method)
    note = (
        f"best source on the test patients less the one chosen on training patients, over {len(gap)} targets; {means}"
    )
    return [Line("gap of honest to oracle choice", f"{gap.mean():.3f}", note)]


def _mean(values: pd.Series) -> str:
    return "\N{EN DASH}" if values.dropna().empty else f"{values.mean():.3f}"


def _also_pooled(pairs: pd.DataFrame, what: str) -> str:
    counted = int(pairs["c_index_mean"].notna().sum())
    pooled = pairs["c_index_pooled"].astype(float)
    spread = f", standard deviation {pooled.std():.3f}" if np.isfinite(pooled.std()) else ""
    return f"mean over {counted} {what}; of the pooled C-index {_mean(pooled)}{spread}"
