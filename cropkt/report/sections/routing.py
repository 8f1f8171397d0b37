"""What routers learnt, and what they are worth: a picture a target, and the report's section."""

import html
from collections.abc import Hashable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from cropkt.report.html import figure, paragraphs, table
from cropkt.report.style import HIGH, LIGHT, LOW, NEUTRAL, SMALLEST, new_figure, styled
from cropkt.routing.store import NAMES

ROUTER, OTHER, BOUND = HIGH, LOW, NEUTRAL
EXPERTS_SHOWN = 26


def gate_summary(gates: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """One target's experts by mean probability: expert, probability (mean over patients), lowest and highest fold mean,
    gate, chosen (share of patients whose top k it is in), c_index_pooled of the pair with its interval, n_patients.

    `gates` are the rows of one target's test patients, `pairs` those of pairs.parquet on it.
    """
    by_expert = gates.groupby("expert", sort=False)
    of_fold = gates.groupby(["expert", "fold"])["probability"].mean().groupby("expert")
    summary = pd.DataFrame(
        {
            "probability": by_expert["probability"].mean(),
            "lowest": of_fold.min(),
            "highest": of_fold.max(),
            "gate": by_expert["gate"].mean(),
            "chosen": by_expert["gate"].apply(lambda gate: float((gate > 0).mean())),
            "n_patients": by_expert["patient_id"].nunique(),
        }
    )
    of_pair = pairs.set_index("source")[["c_index_pooled", "interval_lower", "interval_upper"]].astype(float)
    summary = summary.join(of_pair)
    return summary.sort_values("probability", ascending=False).reset_index()


def fold_agreement(gates: pd.DataFrame) -> float:
    """Mean Spearman correlation, over pairs of folds, of the experts' mean probabilities; NaN for a single fold.

    1: all folds' routers rank the experts alike. 0: the ranking is an accident of the fold.
    """
    means = gates.pivot_table(index="expert", columns="fold", values="probability", aggfunc="mean")
    found = [spearmanr(means[one], means[other]).statistic for one, other in combinations(means, 2)]
    return float(np.mean(found)) if found else np.nan


def gates_against_transfer(summary: pd.DataFrame, target: str) -> float:
    """Spearman correlation of sources' mean probability with their own C-index on the target; NaN for under three."""
    sources = summary[(summary["expert"] != target) & summary["c_index_pooled"].notna()]
    if len(sources) < 3:
        return np.nan
    return float(spearmanr(sources["probability"], sources["c_index_pooled"]).statistic)


@styled
def draw_routing(target: str, methods: pd.DataFrame, gates: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    """One target: every method's C-index with interval; the experts' mean probability; and it against transfer.

    The arguments are the target's rows of routing.parquet, gates.parquet and pairs.parquet.
    """
    summary = gate_summary(gates, pairs)
    drawn, (left, middle, right) = new_figure(3.6, columns=(1.2, 1, 1))
    _draw_methods(left, methods)
    _draw_gates(middle, target, summary)
    _draw_transfer(right, target, summary)
    drawn.suptitle(
        f"{target}: {methods['n_events'].iloc[0]} events among the test patients of {methods['folds'].iloc[0]} folds"
    )
    return drawn


def _draw_methods(axes: Axes, methods: pd.DataFrame) -> None:
    rows: list[dict[Hashable, Any]] = methods.iloc[::-1].to_dict("records")
    for place, row in enumerate(rows):
        routed = str(row["method"]).startswith(("roupkt", "borrowed"))
        colour = ROUTER if routed else BOUND if row["method"] == "oracle" else OTHER
        axes.plot([row["interval_lower"], row["interval_upper"]], [place, place], color=colour, linewidth=1.0)
        axes.plot(row["c_index_pooled"], place, "D" if routed else "o", color=colour)
    axes.axvline(0.5, color="black", linewidth=0.8)
    for row in rows:
        if row["method"] == "self":
            axes.axvline(row["c_index_pooled"], color=OTHER, linewidth=0.8, linestyle=":")
    names = [NAMES[row["method"]] + (" *" if row["tuned"] else "") for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_xlabel("pooled C-index, 95 % interval")
    axes.set_title("methods\n(* tuned; dotted: own model)")


def _draw_gates(axes: Axes, target: str, summary: pd.DataFrame) -> None:
    rows = summary.head(EXPERTS_SHOWN).iloc[::-1].reset_index(drop=True)
    colours = [ROUTER if expert == target else OTHER for expert in rows["expert"]]
    axes.barh(range(len(rows)), rows["probability"], color=colours, height=0.7)
    axes.hlines(range(len(rows)), rows["lowest"], rows["highest"], color="black", linewidth=0.9)
    axes.axvline(1 / len(summary), color=BOUND, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), rows["expert"], fontsize=SMALLEST)
    axes.set_xlabel("router's probability,\nmean over test patients")
    axes.set_title("what the router trusts\n(lines: folds)")


def _draw_transfer(axes: Axes, target: str, summary: pd.DataFrame) -> None:
    known = summary[summary["c_index_pooled"].notna()]
    for row in known.to_dict("records"):
        colour = ROUTER if row["expert"] == target else OTHER
        where = row["c_index_pooled"], row["probability"]
        axes.plot([row["interval_lower"], row["interval_upper"]], [where[1]] * 2, color=LIGHT, linewidth=0.5, zorder=1)
        axes.plot([where[0]] * 2, [row["lowest"], row["highest"]], color=LIGHT, linewidth=0.5, zorder=1)
        axes.plot(*where, "o", color=colour, markersize=2.5, zorder=2)
        axes.annotate(
            str(row["expert"]),
            where,
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=SMALLEST,
        )
    axes.axhline(1 / len(summary), color=BOUND, linestyle="--", linewidth=1)
    axes.axvline(0.5, color="black", linewidth=0.8)
    axes.set_xlabel("C-index of the expert's\nmodel by itself, 95 % interval")
    axes.set_ylabel("router's probability, range over folds")
    axes.set_title(
        f"does it trust who transfers?\nrank correlation {gates_against_transfer(summary, target):.2f}",
    )


def findings(target: str, methods: pd.DataFrame, gates: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """What a target's tables say, in sentences."""
    by_method: dict[str, dict[Hashable, Any]] = {str(row["method"]): row for row in methods.to_dict("records")}
    router = by_method["roupkt"]
    sentences = [
        f"ROUPKT reaches {router['c_index_pooled']:.3f} ({router['interval_lower']:.3f} to "
        f"{router['interval_upper']:.3f})."
    ]
    if "borrowed" in by_method:
        gain = by_method["borrowed"]["c_index_pooled"] - by_method["own_ridge"]["c_index_pooled"]
        sentences.append(
            f"Borrowed coefficients reach {by_method['borrowed']['c_index_pooled']:.3f}, {gain:+.3f} to the own ridge "
            "Cox model."
        )
    for other, name in (
        ("self", "the own model"),
        ("honest", "the best single source chosen on training patients"),
        ("fusion_mean", "the plain mean of all vectors"),
    ):
        if other in by_method:
            difference = router["c_index_pooled"] - by_method[other]["c_index_pooled"]
            shown = f" (p {router['p_self']:.3f})" if other == "self" else ""
            sentences.append(f"To {name} the difference is {difference:+.3f}{shown}.")
    agreement = fold_agreement(gates)
    if np.isfinite(agreement):
        sentences.append(f"The folds' routers rank the experts with a mean rank correlation of {agreement:.2f}.")
    related = gates_against_transfer(gate_summary(gates, pairs), target)
    if np.isfinite(related):
        sentences.append(f"Probability and the source's own C-index on the target correlate at {related:.2f} (ranks).")
    return sentences


def section_body(methods: pd.DataFrame, gates: pd.DataFrame, pairs: pd.DataFrame, pictures: Mapping[str, Path]) -> str:
    """HTML of the report's section: a table of targets and methods, and for each target sentences and its picture.

    `pictures` by target. Nothing is fetched: pictures are data URIs, with few colours so that 26 of them are small.
    """
    parts = [
        "<p>A router looks at a target's slide and weighs what frozen source models make of it (ROUPKT). Every method "
        "learnt on the same patients and was asked about the test patients once; intervals and p-values take models as "
        "they are, and cover the chance of these patients only; settings of tuned methods were chosen "
        "on inner splits of the training patients. C-indices are pooled over folds. What the searches tried is in the "
        "results folder, routing/.../search_*.png and .csv.</p>",
        _table(methods),
    ]
    for target in methods["target"].unique():
        own = (methods["target"] == target, gates["target"] == target, pairs["target"] == target)
        tables = (methods[own[0]], gates[own[1]], pairs[own[2]])
        parts.append(f'<h3 id="routing-{target}">{html.escape(target)}</h3>')
        parts += paragraphs([" ".join(findings(target, *tables))])
        if target in pictures:
            title = f"{target}: methods, what the router trusts, and whether that is what transfers"
            parts.append(figure(pictures[target], title))
    return "\n".join(parts)


def _table(methods: pd.DataFrame) -> str:
    wide = methods.pivot_table(index="method", columns="target", values="c_index_pooled", sort=False)
    wide = wide.reindex([name for name in NAMES if name in wide.index])
    if wide.shape[1] > 1:
        wide.insert(0, "mean", wide.mean(axis=1))
    wide.insert(0, "method", [NAMES[name] for name in wide.index])
    return table(wide)
