"""Learning curves for people: sentences, a table in text, and the picture."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cropkt.report.style import CHOSEN, HIGH, LOW, NEUTRAL, SMALLEST, new_figure, styled
from cropkt.rivals import RIVALS
from cropkt.rivals.comparison import BEST_OWN, by_target, crossing, differences, method_means, sizes_in_order

FOCUS = "borrowed"


def own_methods() -> list[str]:
    """Methods that learn from the target alone."""
    return [name for name in RIVALS if RIVALS[name].own]


def measures(curve: pd.DataFrame) -> dict[str, str]:
    """Columns of the C-indices that are there, and what they are called; the true one first."""
    named = {"c_index_true": "true C-index", "c_index": "Harrell's C-index"}
    return {name: label for name, label in named.items() if curve[name].notna().any()}


def told(curve: pd.DataFrame) -> list[str]:
    """Lines of text: every method by size, what borrowing gains over each, and the crossing point.

    `curve` has rows of curve.parquet, and `study`.
    """
    lines = []
    for measure, label in measures(curve).items():
        means = method_means(curve, measure)
        for size, of_size in means.groupby("patients", sort=False):
            count = int(of_size["targets"].iloc[0])
            lines.append(f"\n{label}, {size} training patients, {count} targets (95 % interval over targets)")
            gain = differences(curve, own_methods(), measure=measure)
            against = gain[gain["patients"] == size].set_index("against")
            for row in of_size.sort_values("mean", ascending=False).itertuples():
                lines.append(
                    f"  {_label(str(row.method)):55s} {row.mean:.3f}   {_gain(against, str(row.method))}".rstrip()
                )
            lines.append(f"  {BEST_OWN + ' (by hindsight)':55s}         {_gain(against, BEST_OWN)}".rstrip())
        rivals = [name for name in own_methods() if name in by_target(curve, measure)]
        lines += [f"against {_label(name)}: {crossing(curve, name, measure=measure).sentence()}" for name in rivals]
    return lines


def numbers(curve: pd.DataFrame) -> dict[str, float]:
    """What `told` says, as numbers with names: "c_index/METHOD/SIZE", the mean over targets, and
    "borrowed_minus_c_index/METHOD/SIZE", the gain of borrowing over the method, with "_lower" and "_upper" before the
    method for its interval. `curve` as for `told`.
    """
    found: dict[str, float] = {}
    for measure in measures(curve):
        for row in method_means(curve, measure).to_dict("records"):
            found[f"{measure}/{row['method']}/{row['patients']}"] = float(row["mean"])
        for row in differences(curve, own_methods(), measure=measure).to_dict("records"):
            where = f"{str(row['against']).replace(' ', '_')}/{row['patients']}"
            for name, ending in (("mean", ""), ("lower", "_lower"), ("upper", "_upper")):
                found[f"{FOCUS}_minus_{measure}{ending}/{where}"] = float(row[name])
    return found


def _label(name: str) -> str:
    return RIVALS[name].label if name in RIVALS else name


def _gain(against: pd.DataFrame, name: str) -> str:
    if name not in against.index:
        return ""
    row = against.loc[name]
    return f"borrowed minus it {row['mean']:+.3f} ({row['lower']:+.3f} to {row['upper']:+.3f})"


@styled
def draw_curves(curve: pd.DataFrame) -> Figure:
    """Left: mean C-index of each method by training patients. Right: gain of borrowing over the own models."""
    measure, label = next(iter(measures(curve).items()))
    figure, (left, right) = new_figure(3.4, columns=(1.4, 1))
    _draw_means(left, method_means(curve, measure))
    left.set_ylabel(f"{label}, mean over targets")
    gain = differences(curve, own_methods(), measure=measure)
    _draw_gain(right, gain[gain["against"].isin([*own_methods(), BEST_OWN])])
    return figure


def _draw_means(axes: Axes, means: pd.DataFrame) -> None:
    sizes = sizes_in_order(means["patients"])
    ends: list[tuple[float, str, str]] = []
    for name, rows in means.groupby("method", sort=False):
        own = name in own_methods()
        colour = HIGH if name == FOCUS else LOW if own else NEUTRAL
        values = rows.set_index("patients")["mean"].reindex(sizes)
        axes.plot(range(len(sizes)), values, "o-", color=colour, linewidth=2.0 if name == FOCUS else 0.8)
        ends.append((float(values.iloc[-1]), str(name), colour))
    axes.axhline(0.5, color="black", linewidth=0.6)
    axes.margins(x=0.3)
    _name_ends(axes, len(sizes) - 1, ends)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlabel("training patients")


def _name_ends(axes: Axes, place: float, ends: list[tuple[float, str, str]]) -> None:
    """Names of lines at their ends, moved up where they would lie on one another."""
    lowest, highest = axes.get_ylim()
    least, at = 0.04 * (highest - lowest), -1.0
    for value, name, colour in sorted(end for end in ends if end[0] == end[0]):
        at = max(value, at + least)
        axes.annotate(
            name, (place, at), xytext=(4, 0), textcoords="offset points", va="center", fontsize=SMALLEST, color=colour
        )


def _draw_gain(axes: Axes, gain: pd.DataFrame) -> None:
    sizes = sizes_in_order(gain["patients"])
    names = list(dict.fromkeys(gain["against"]))
    for place, name in enumerate(names):
        rows = gain[gain["against"] == name].set_index("patients").reindex(sizes)
        shift = (place - (len(names) - 1) / 2) * 0.12
        at = [number + shift for number in range(len(sizes))]
        colour = CHOSEN if name == BEST_OWN else LOW
        axes.vlines(at, rows["lower"], rows["upper"], color=colour, linewidth=0.8)
        axes.plot(at, rows["mean"], "osD^v<>"[place % 7], color=colour, label=name, markersize=3)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlabel("training patients")
    axes.set_ylabel("borrowed minus own, 95 % interval")
    axes.legend(fontsize=SMALLEST)
