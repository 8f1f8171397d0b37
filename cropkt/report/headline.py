"""The first thing a reader sees: what was measured, what transfers, and what choosing a source costs."""

from collections import Counter
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from cropkt.report.read import ResultTables, has_comparison
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.judgement.names import MEANING, PROVEN, Verdict
from cropkt.transfer.judgement.verdicts import LEVEL
from cropkt.transfer.rows import PATIENTS_ONLY, TRAINING_TOO
from cropkt.transfer.source_choice import PRE_CHOSEN

UNMEASURED = {
    "failed": "could not be measured; hover over a cell for the reason",
    "not measured": "not part of this run",
}

MARKS = {
    Verdict.WORTH_BORROWING: "◆",
    Verdict.TRANSFERS: "●",
    Verdict.BETTER_THAN_CHANCE: "○",
    Verdict.WORSE_THAN_CHANCE: "▼",
    Verdict.CANNOT_TELL: "?",
    "failed": "\N{MULTIPLICATION SIGN}",
    "not measured": "\N{EN DASH}",
}
"""Signs in the cells of the matrix. "not shown" has none: it is what a cell is until something is shown."""


def meanings(*, judged: bool) -> dict[str, str]:
    """What each state of a pair says, in words; `judged` is whether pairs were compared with their start."""
    alone = {} if judged else {Verdict.BETTER_THAN_CHANCE: "above 0.5; the untrained start has not been measured"}
    return {str(state): words for state, words in (MEANING | alone | UNMEASURED).items()}


@dataclass(frozen=True)
class Pick:
    """What a target may take from other cancers. source: as chosen on training patients, in most folds.

    found, own: C-index and interval of that choice and of the target's own model, "" where unknown; answer: in words.
    """

    target: str
    size: str
    source: str
    found: str
    own: str
    answer: str


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
    for state in (*Verdict, *UNMEASURED):
        if (state in list(Verdict) and (tables.judged or state not in PROVEN)) or counts.get(state, 0):
            count = int(counts.get(state, 0))
            lines.append(Line(state, f"{count} ({100 * count / max(len(away), 1):.0f} %)", meaning[state], state))
    lines += [*_levels(tables, away), *_beyond_cohorts(tables), *_starts(tables), *_choices(tables)]
    return f"{_helped(tables)}{_sentence(tables, away, counts)}", lines


def picks(tables: ResultTables) -> list[Pick]:
    """A row per target with a choice, registry order."""
    choice = tables.choice.set_index(["method", "target"]).sort_index()
    chosen = [code for code in tables.codes if ("honest", code) in choice.index]
    return [_pick(code, choice, size) for code, size in zip(tables.codes, sizes(tables), strict=True) if code in chosen]


def sizes(tables: ResultTables) -> list[str]:
    """Each cohort's patients and events as a target, "50/15"; "" where nothing was measured."""
    largest = tables.pairs.groupby("target")[["n_patients", "n_events"]].max().reindex(tables.codes).astype(float)
    return ["" if np.isnan(patients) else f"{patients:.0f}/{events:.0f}" for patients, events in largest.to_numpy()]


def _pick(code: str, choice: pd.DataFrame, size: str) -> Pick:
    row = cast("pd.Series", choice.loc[("honest", code)])
    own = cast("pd.Series", choice.loc[("self", code)]) if ("self", code) in choice.index else None
    source = Counter(row["sources"]).most_common(1)[0][0]
    return Pick(code, size, source, _estimate(row), "" if own is None else _estimate(own), _answer(row, own))


def _estimate(row: pd.Series) -> str:
    value, lower, upper = (float(row[name]) for name in ("c_index_pooled", "interval_lower", "interval_upper"))
    if np.isnan(value):
        return ""
    return f"{value:.2f}" if np.isnan(lower) else f"{value:.2f} ({lower:.2f} to {upper:.2f})"


def _answer(row: pd.Series, own: pd.Series | None) -> str:
    if np.isnan(row["interval_lower"]):
        return "too few events to tell"
    if own is None or np.isnan(row["difference_self"]):
        return "no own model to compare with"
    if row["q_home"] < LEVEL:
        return "take it: better than anything this cohort can train at home"
    if row["q_self"] < LEVEL:
        return "better than the own model, not than a Cox model of mean features"
    if row["difference_self"] > 0:
        return "not shown to be better than the own model"
    return "keep the own model"


def _helped(tables: ResultTables) -> str:
    """For how many cohorts does some use of other cancers, settled without their test patients, help?"""
    methods = tables.choice[tables.choice["method"].isin(PRE_CHOSEN)]
    compared = methods[methods["q_self"].notna()]
    if compared.empty:
        return ""
    better = compared[compared["q_self"] < LEVEL]["target"].nunique()
    home = compared[compared["q_home"] < LEVEL]["target"].nunique()
    total = compared["target"].nunique()
    return (
        f"For {better} of {total} cohorts borrowing from other cancers is better than the cohort's own model, "
        f"for {home} better than anything the cohort can train at home. "
    )


def _sentence(tables: ResultTables, away: pd.DataFrame, counts: pd.Series) -> str:
    if tables.judged:
        transfer = sum(int(counts.get(state, 0)) for state in PROVEN)
        found = f"{transfer} of {len(away)} pairs of cohorts transfer"
        rest = f"{counts.get(Verdict.WORTH_BORROWING, 0)} of them are worth borrowing"
    else:
        found = f"{counts.get(Verdict.BETTER_THAN_CHANCE, 0)} of {len(away)} pairs of cohorts are better than chance"
        rest = "the baselines have not been measured, so chance is all they were held against"
    wrong = counts.get(Verdict.WORSE_THAN_CHANCE, 0)
    backwards = f"; {wrong} {'points' if wrong == 1 else 'point'} the wrong way" if wrong else ""
    return f"{found}; {rest}{backwards}."


def _beyond_cohorts(tables: ResultTables) -> list[Line]:
    """Sources that are no cohort, on all targets."""
    lines = []
    for name, rows in tables.beyond_cohorts.groupby(level="source"):
        there = rows[rows["c_index_pooled"].notna()]
        states = there["state"].value_counts()
        found = f"better than chance on {states.get(Verdict.BETTER_THAN_CHANCE, 0)}"
        if tables.judged:
            transfers = sum(int(states.get(state, 0)) for state in PROVEN)
            found = (
                f"they transfer to {transfers}, and are worth borrowing for {states.get(Verdict.WORTH_BORROWING, 0)}"
            )
        note = f"{_also_pooled(there, 'targets')}; {found}"
        lines.append(Line(f"C-index of {BASELINES[str(name)].label}", _mean(there["c_index_mean"]), note))
    return lines


def _starts(tables: ResultTables) -> list[Line]:
    """The start that all sources share, beside other starts: it is one draw, and not a neutral one."""
    modes = tables.baselines.index.get_level_values("mode")
    own = tables.baselines[modes == "null"]["c_index_pooled"]
    others = tables.folds[(tables.folds["mode"] == "random") & (tables.folds["n_comparable"] > 0)]
    if own.dropna().empty or others.empty:
        return []
    weighted = others.assign(correct=others["c_index"] * others["n_comparable"])
    sums = weighted.groupby(["target", "source_fold"])[["correct", "n_comparable"]].sum()
    spread = (sums["correct"] / sums["n_comparable"]).groupby("target").std()
    note = (
        f"before training, mean over cohorts ({own.min():.3f} to {own.max():.3f}); all sources share this one start. "
        f"Other starts differ by a standard deviation of {spread.mean():.3f} within a cohort"
    )
    return [Line("C-index of the untrained start", _mean(own), note)]


def _levels(tables: ResultTables, away: pd.DataFrame) -> list[Line]:
    own = tables.pairs[tables.pairs["mode"] == "self"]
    told = away[away["state"].isin([state for state in Verdict if state != Verdict.CANNOT_TELL])]
    lines = [
        Line("C-index within cohorts", _mean(own["c_index_mean"]), _also_pooled(own, "cohorts, matched folds only")),
        Line("C-index between cohorts", _mean(away["c_index_mean"]), _also_pooled(away, "pairs")),
    ]
    if len(told) < away["c_index_mean"].notna().sum():
        lines.append(Line("  without “cannot tell”", _mean(told["c_index_mean"]), _also_pooled(told, "pairs")))
    if has_comparison(tables, "self"):
        better = int((away["q_self"] < LEVEL).sum())
        note = f"pairs; on the same patients, one-sided q < 0.05. {_covered(away)}"
        lines.append(Line("better than the target's own model", str(better), note))
    return [*lines, *_smallest_difference(tables)]


def _covered(away: pd.DataFrame) -> str:
    """Which chance the comparison with own models covers."""
    repeats = int(away["repeats_self"].max())
    if repeats < 2:
        return f"The error covers {PATIENTS_ONLY} only; the luck of training comes on top (--repeats 3 covers it)"
    few = int((away["repeats_self"] < 2).sum())
    rest = f"; in {few} pairs there was one repeat, and patients only are covered" if few else ""
    return f"The error covers {TRAINING_TOO} (up to {repeats} repeats){rest}"


def _smallest_difference(tables: ResultTables) -> list[Line]:
    """What a study of this size can show at all."""
    repeats = tables.read.get("repeats", pd.DataFrame(columns=["model", "smallest_difference"]))
    smallest = repeats[repeats["model"] == "self"]["smallest_difference"].astype(float).dropna()
    if smallest.empty:
        return []
    note = (
        "true difference in C-index between a source and the own model that a target shows at 5 % with a probability "
        f"of 0.8: median over {len(smallest)} targets ({_shown(smallest.min())} to {_shown(smallest.max())})"
    )
    return [Line("smallest difference to the own model", _shown(smallest.median()), note)]


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


def _shown(difference: float) -> str:
    """Two C-indices cannot differ by more than 1: such a target shows none."""
    return f"{difference:.3f}" if difference < 1 else "none"
