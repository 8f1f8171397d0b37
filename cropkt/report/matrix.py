"""The transfer matrix as a picture for a paper, by the rules of the page: rows are sources, columns are targets.

Pooled C-indices with their verdicts; grey where too few events allow no answer; columns named with patients and events.
Sources that are no cohort (all others together) are rows below the cohorts.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from cropkt.cohorts import cohort_info
from cropkt.report.headline import MARKS, sizes
from cropkt.report.order import colour_reach
from cropkt.report.read import ResultTables
from cropkt.report.style import (
    DIVERGING,
    NEUTRAL,
    ONE_COLUMN,
    QUIET,
    SMALL,
    SMALLEST,
    TWO_COLUMNS,
    UNKNOWN,
    new_figure,
    save_figure,
    styled,
)
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.judgement.names import Verdict

CELL = 0.2
"""Inches, so that 26 cohorts fill two columns."""


@styled
def draw_matrix(tables: ResultTables, path: Path, *, title: str, subtitle: str = "") -> Path:
    """Write the pooled C-indices of `tables` to `path` (.png) and beside it as .pdf and .svg; returns `path`.

    The colour scale is centred on 0.5, symmetric, and ends where a few extreme cells do not wash out the others. Cells
    that cannot tell are grey, unknown ones hatched, cells within a cohort framed; a line parts large and rare cohorts.
    """
    count = len(tables.codes)
    values, states = tables.matrix_of_all("c_index_pooled").astype(float), tables.matrix_of_all("state")
    relied = values.where(states != Verdict.CANNOT_TELL).to_numpy()
    reach = colour_reach(tables.relied_on().to_numpy())
    width = min(TWO_COLUMNS, max(ONE_COLUMN, 1.9 + CELL * count))
    figure, (axes,) = new_figure(1.7 + CELL * len(relied), width=width)
    norm = TwoSlopeNorm(0.5, 0.5 - reach, 0.5 + reach)
    image = axes.imshow(np.ma.masked_invalid(relied), cmap=DIVERGING, norm=norm, aspect="equal")
    _write_cells(axes, values.to_numpy(), states.to_numpy(), norm)
    _frame_within(axes, count)
    _part_large_from_rare(axes, tables.codes)
    if len(relied) > count:
        axes.axhline(count - 0.5, color="black", linewidth=1.0)
    _name_cohorts(axes, tables, list(values.index[count:]))
    _explain(figure, axes, image, beyond=bool((np.abs(relied - 0.5) > reach).any()))
    _key(figure, tables, subtitle)
    figure.suptitle(title, fontweight="bold", x=0.01, ha="left")
    return save_figure(path, figure)


def cell_number(value: float) -> str:
    """A C-index in two decimals as a cell has it: ".87", "1.00"; "" for NaN."""
    return "" if np.isnan(value) else f"{value:.2f}".removeprefix("0")


def column_names(tables: ResultTables) -> list[str]:
    """Each target with its patients and events, "ACC 50/15"; the code alone where nothing was measured."""
    return [f"{code.upper()} {size}".rstrip() for code, size in zip(tables.codes, sizes(tables), strict=True)]


def _name_cohorts(axes: Axes, tables: ResultTables, further: Sequence[str]) -> None:
    names = [*(code.upper() for code in tables.codes), *(BASELINES[name].label for name in further)]
    axes.set_xticks(range(len(tables.codes)), column_names(tables), rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.set_xlabel("target cohort, patients/events")
    axes.set_ylabel("source cohort")
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)


def _explain(figure: Figure, axes: Axes, image: AxesImage, *, beyond: bool) -> None:
    """The colour bar; `beyond`: are there values it does not reach?"""
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, aspect=30, extend="both" if beyond else "neither")
    bar.set_label("pooled C-index   (0.5 = chance)")
    bar.outline.set_visible(False)


def _key(figure: Figure, tables: ResultTables, subtitle: str) -> None:
    """The marks that the picture has, and what cells without a colour are."""
    states = {*tables.pairs["state"], *tables.beyond_cohorts["state"]}
    marks = "   ".join(f"{mark} {state}" for state, mark in MARKS.items() if state in states)
    keys = [Patch(facecolor="none", edgecolor="black", linewidth=0.8, label="within a cohort, matched folds")]
    if Verdict.CANNOT_TELL in states:
        keys.append(Patch(facecolor=UNKNOWN, label="too few events to tell"))
    if tables.pairs["c_index_pooled"].isna().any():
        keys.append(Patch(facecolor="white", edgecolor=NEUTRAL, hatch="////", label="unknown"))
    figure.legend(
        handles=keys,
        loc="outside lower left",
        ncols=len(keys),
        title="\n".join(line for line in (subtitle, marks) if line),
        title_fontsize=SMALL,
        alignment="left",
    )


def _write_cells(axes: Axes, values: np.ndarray, states: np.ndarray, norm: TwoSlopeNorm) -> None:
    for (row, column), value in np.ndenumerate(values):
        state = str(states[row, column])
        grey = state == Verdict.CANNOT_TELL
        if np.isnan(value):
            _fill(axes, row, column, facecolor="white", edgecolor=NEUTRAL, hatch="////")
        elif grey:
            _fill(axes, row, column, facecolor=UNKNOWN)
        strong = not grey and not np.isnan(value) and abs(float(norm(value)) - 0.5) > 0.32
        axes.text(
            column,
            row,
            "\n".join(part for part in (cell_number(value), MARKS.get(state, "")) if part),
            ha="center",
            va="center",
            fontsize=SMALLEST,
            linespacing=0.95,
            color="white" if strong else QUIET if grey else "#222222",
        )


def _fill(axes: Axes, row: int, column: int, **look: str) -> None:
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, linewidth=0, **look))  # type: ignore[arg-type]


def _frame_within(axes: Axes, count: int) -> None:
    for place in range(count):
        axes.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, facecolor="none", edgecolor="black", linewidth=0.8))


def _part_large_from_rare(axes: Axes, codes: tuple[str, ...]) -> None:
    sizes = [cohort_info(code).size for code in codes]
    for position in range(1, len(codes)):
        if sizes[position] != sizes[position - 1]:
            axes.axhline(position - 0.5, color="black", linewidth=1.0)
            axes.axvline(position - 0.5, color="black", linewidth=1.0)
