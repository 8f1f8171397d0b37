"""Pictures of the analysis, one file each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from matplotlib.transforms import Bbox
from scipy.stats import norm, probplot, t

from cropkt.factors.analysis import Analysis
from cropkt.factors.statistics.effects import OUTCOME
from cropkt.factors.statistics.prediction import METHODS
from cropkt.report.style import (
    HIGH,
    HIGHER,
    LIGHT,
    LIGHTEST,
    LOW,
    NEUTRAL,
    SMALL,
    TEXT,
    new_figure,
    save_figure,
    styled,
)

FOUND, NOT_FOUND = HIGH, NEUTRAL
LEVEL = 0.05
WIDTH = float(norm.ppf(0.975))
"""Half of a 95 % interval, in standard errors."""
LEVELS = {"pair": "of a pair", "source": "of the source", "target": "of the target"}
GROUPS: tuple[dict[str, Any], ...] = (
    {"s": 4, "color": NOT_FOUND, "label": "other pairs", "alpha": 0.8},
    {"s": 12, "color": FOUND, "label": "same histology group", "marker": "D"},
)
AROUND: tuple[tuple[tuple[int, int], dict[str, Any]], ...] = (
    ((5, 0), {"ha": "left", "va": "center"}),
    ((-5, 0), {"ha": "right", "va": "center"}),
    ((0, 4), {"ha": "center", "va": "bottom"}),
    ((0, -4), {"ha": "center", "va": "top"}),
    ((4, 3), {"ha": "left", "va": "bottom"}),
    ((4, -3), {"ha": "left", "va": "top"}),
    ((-4, 3), {"ha": "right", "va": "bottom"}),
    ((-4, -3), {"ha": "right", "va": "top"}),
    ((0, 13), {"ha": "center", "va": "bottom", "arrowprops": {"arrowstyle": "-", "linewidth": 0.5}}),
    ((0, -13), {"ha": "center", "va": "top", "arrowprops": {"arrowstyle": "-", "linewidth": 0.5}}),
)
HEADING: dict[str, Any] = {"textcoords": "offset points", "fontsize": TEXT, "fontweight": "bold", "va": "center"}


def draw_all(out: Path, analysis: Analysis, pairs: pd.DataFrame) -> dict[str, Path]:
    """Write `out`/factors_NAME.png, .pdf and .svg; returns the paths of the first by name."""
    pictures: dict[str, Callable[[], Figure]] = {
        "effects": lambda: draw_effects(analysis.factors),
        "distance": lambda: draw_distance(pairs),
        "variance": lambda: draw_variance(analysis.variance),
        "diagnostics": lambda: draw_diagnostics(analysis, pairs),
        "prediction": lambda: draw_prediction(analysis),
        "cohorts": lambda: draw_cohorts(analysis),
    }
    return {name: save_figure(out / f"factors_{name}.png", draw()) for name, draw in pictures.items()}


@styled
def draw_effects(factors: pd.DataFrame) -> Figure:
    """Coefficient and 95 % interval of each factor; filled where the false discovery rate lets it count."""
    parts = [factors[factors["level"] == level].sort_values("coefficient", ascending=False) for level in LEVELS]
    height = len(factors) + len(LEVELS)
    figure, (axes,) = new_figure(0.8 + 0.13 * height)
    place = 0
    for level, part in zip(LEVELS.values(), parts, strict=True):
        axes.annotate(level, (0, place), xycoords=("axes fraction", "data"), xytext=(6, 0), **HEADING)
        for number, row in enumerate(part.to_dict("records"), place + 1):
            found = row["q_value"] < LEVEL
            colour = FOUND if found else NOT_FOUND
            axes.plot([row["lower"], row["upper"]], [number, number], color=colour, linewidth=1.2)
            axes.plot(row["coefficient"], number, "o", color=colour, mfc=colour if found else "white")
        place += len(part) + 1
    axes.axvline(0, color="black", linewidth=0.8, zorder=0)
    labels = [label for part in parts for label in ("", *part["label"].str.replace(r"^\w+: ", "", regex=True))]
    axes.set_yticks(range(height), labels)
    axes.set_ylim(height - 0.3, -0.7)
    axes.set_xlabel("change of the C-index for one standard deviation (95 % interval)")
    axes.set_title("Filled: found at a false discovery rate of 5 %", loc="left")
    axes.tick_params(axis="y", length=0)
    return figure


@styled
def draw_distance(pairs: pd.DataFrame) -> Figure:
    """C-index against distance and against shared attention, pairs of one histology group marked."""
    figure, both = new_figure(3, columns=(1, 1), share_y=True)
    known = pairs[np.isfinite(pairs[OUTCOME])]
    names = {"mmd_patches": "maximum mean discrepancy of patches", "attention_overlap": "attention shared"}
    for axes, (column, label) in zip(both, names.items(), strict=True):
        for same, style in enumerate(GROUPS):
            part = known[known["same_group"] == same]
            axes.scatter(part[column], part[OUTCOME], **style)
        axes.axhline(0.5, color="black", linewidth=0.8)
        axes.set_xlabel(label)
    both[0].set_ylabel("C-index, pooled")
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@styled
def draw_variance(variance: pd.DataFrame) -> Figure:
    """Shares of the variance of the C-index between cohorts."""
    figure, (axes,) = new_figure(0.9)
    start = 0.0
    colours = [HIGH, HIGHER, LOW, LIGHT, LIGHTEST]
    for row, colour in zip(variance.to_dict("records"), colours, strict=True):
        axes.barh(0, row["share"], left=start, color=colour, label=f"{row['part']} {row['share']:.0%}")
        start += row["share"]
    axes.set_xlim(0, 1)
    axes.set_axis_off()
    figure.legend(loc="outside lower left", ncols=5, columnspacing=1.2)
    return figure


@styled
def draw_diagnostics(analysis: Analysis, pairs: pd.DataFrame) -> Figure:
    """Residuals of the mixed model without factors: against what is fitted, against the normal, by target's events."""
    known = pairs[np.isfinite(pairs[OUTCOME])]
    residual = known[OUTCOME].to_numpy() - analysis.null.fitted
    figure, (fitted, quantiles, events) = new_figure(2.2, columns=(1, 1, 1))
    fitted.scatter(analysis.null.fitted, residual, s=4, color=FOUND)
    fitted.set_xlabel("source and target effects")
    fitted.set_ylabel("residual")
    (theory, ordered), (slope, middle, _) = probplot(residual)
    quantiles.scatter(theory, ordered, s=4, color=FOUND)
    quantiles.plot(theory, slope * theory + middle, color="black", linewidth=0.8)
    quantiles.set_xlabel("normal quantile")
    events.scatter(known["n_events"], residual, s=4, color=FOUND)
    events.set_xscale("log")
    events.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    events.xaxis.set_major_formatter(ScalarFormatter())
    events.xaxis.set_minor_formatter(NullFormatter())
    events.set_xlabel("events of the target")
    for axes in (fitted, events):
        axes.axhline(0, color="black", linewidth=0.8)
    return figure


@styled
def draw_prediction(analysis: Analysis) -> Figure:
    """Left: predicted and measured C-index of targets left out. Right: regret of each way to choose a source. Lines are
    95 % intervals: of each pair over patients, of the regret over targets."""
    figure, (scatter, bars) = new_figure(2.8, columns=(1, 1))
    predicted = analysis.predicted
    place, value, reach = predicted["predicted:factors"], predicted[OUTCOME], WIDTH * predicted["standard_error"]
    scatter.vlines(place, (value - reach).clip(0, 1), (value + reach).clip(0, 1), color=LIGHT, linewidth=0.3, zorder=0)
    scatter.scatter(place, value, s=4, color=FOUND, alpha=0.6)
    scatter.axline((0.5, 0.5), slope=1, color="black", linewidth=0.8)
    scatter.set_xlabel("predicted C-index, target left out")
    scatter.set_ylabel("measured")
    table = analysis.prediction
    reach = t.ppf(0.975, (table["targets"] - 1).clip(lower=1)) * table["regret_error"].fillna(0)
    bars.errorbar(table["regret"], range(len(table)), xerr=reach, fmt="o", color=FOUND, linewidth=1.2)
    for number, regret in enumerate(table["regret"]):
        bars.text(regret, number - 0.12, f"{regret:.3f}", ha="center", va="bottom", fontsize=SMALL)
    random = table["regret_random"].mean()
    bars.axvline(random, color="black", linestyle="--", linewidth=1)
    above = bars.get_xaxis_transform()
    bars.text(random, 1.01, f"random source {random:.3f}", ha="center", va="bottom", fontsize=SMALL, transform=above)
    bars.set_yticks(range(len(METHODS)), table["method"])
    bars.set_xlim(0, 1.1 * max(random, (table["regret"] + reach).max()))
    bars.set_ylim(len(METHODS) - 0.5, -0.6)
    bars.set_xlabel("C-index lost to the best source, mean over targets (95 % interval)")
    return figure


@styled
def draw_cohorts(analysis: Analysis) -> Figure:
    """How good a source and how easy a target each cohort is: random effects of the mixed model without factors."""
    sides = analysis.effects.dropna()
    figure, (axes,) = new_figure(5)
    axes.axhline(0, color="black", linewidth=0.6, zorder=0)
    axes.axvline(0, color="black", linewidth=0.6, zorder=0)
    across, up = sides["source_effect"], sides["target_effect"]
    right, above = WIDTH * sides["source_error"], WIDTH * sides["target_error"]
    axes.errorbar(across, up, xerr=right, yerr=above, fmt="none", ecolor=LIGHT, elinewidth=0.5, zorder=1)
    axes.scatter(across, up, s=8, color=FOUND, zorder=2)
    axes.set_xlabel("as a source: C-index above the average source (95 % interval)")
    axes.set_ylabel("as a target: C-index above the average target (95 % interval)")
    axes.margins(0.08)
    _name_points(figure, axes, sides["source_effect"], sides["target_effect"], sides["cohort"].str.upper())
    return figure


def _name_points(figure: Figure, axes: Axes, x: pd.Series, y: pd.Series, names: pd.Series) -> None:
    """A name beside each point, at the place around it where it covers the fewest points and names."""
    figure.draw_without_rendering()
    places = axes.transData.transform(np.column_stack([x, y]))
    taken: list[Bbox] = [Bbox([place - 4, place + 4]) for place in places]
    for place, name in zip(zip(x, y, strict=True), names, strict=True):
        choices = []
        for offset, style in AROUND:
            text = axes.annotate(name, place, xytext=offset, textcoords="offset points", fontsize=SMALL, **style)
            choices.append((sum(_shared_area(_extent(text), box) for box in taken), text))
        best = min(choices, key=lambda choice: choice[0])[1]
        for _, text in choices:
            if text is not best:
                text.remove()
        taken.append(_extent(best))


def _extent(text: Annotation) -> Bbox:
    """Of the writing, without its arrow."""
    text.get_window_extent()  # puts the writing where it belongs
    return Text.get_window_extent(text)


def _shared_area(one: Bbox, other: Bbox) -> float:
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else both.width * both.height


@styled
def draw_prototypes(prototypes: pd.DataFrame) -> Figure:
    """How the own and the others' models use each prototype: relation with risk, and attention against its share."""
    prototypes = prototypes[prototypes["share"] > 0] if len(prototypes) else prototypes
    figure, (risk, attention) = new_figure(2.6, columns=(1, 1))
    sides = (("own", FOUND, -0.18, "its own models"), ("others", LOW, 0.18, "the others' models"))
    for axes, what, middle in ((risk, "risk", 0), (attention, "attention", 1)):
        for who, colour, shift, name in sides if len(prototypes) else ():
            values = prototypes[f"{what}_{who}"]
            axes.barh(np.arange(len(values)) + shift, values - middle, 0.36, left=middle, color=colour, label=name)
        axes.axvline(middle, color="black", linewidth=0.8)
        names = [f"prototype {k}" for k in prototypes["prototype"]] if len(prototypes) else []
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
    risk.set_xlabel("rank correlation of its fraction with predicted risk")
    attention.set_xlabel("attention against an even share")
    if len(prototypes):
        figure.legend(*risk.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure
