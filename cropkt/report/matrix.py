"""The transfer matrix as a picture for a paper: rows are sources, columns are targets, large and rare apart."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from cropkt.cohorts import cohort_info
from cropkt.report.style import (
    DIVERGING,
    NEUTRAL,
    ONE_COLUMN,
    SMALL,
    SMALLEST,
    TWO_COLUMNS,
    new_figure,
    save_figure,
    styled,
)

CELL = 0.2
"""Inches, so that 26 cohorts fill two columns."""


@styled
def draw_matrix(matrix: pd.DataFrame, path: Path, *, title: str, subtitle: str = "", label: str = "C-index") -> Path:
    """Write `matrix` (sources x targets, C-index, NaN where unknown) to `path` (.png) and beside it as .pdf and .svg.

    The colour scale is centred on 0.5 and symmetric; unknown cells are hatched; self-transfer cells are framed;
    a line parts the large cohorts from the rare ones.
    """
    sources, targets = list(matrix.index), list(matrix.columns)
    values = matrix.to_numpy(dtype=float)
    furthest = float(np.nanmax(np.abs(values - 0.5))) if np.isfinite(values).any() else 0.0
    # Cohorts with a handful of events reach 0 or 1 by luck; they must not wash out everybody else's colours.
    reach = min(0.3, max(0.2, np.ceil(furthest * 20) / 20))
    width = min(TWO_COLUMNS, max(ONE_COLUMN, 1.9 + CELL * len(targets)))
    figure, (axes,) = new_figure(1.3 + CELL * len(sources), width=width)
    norm = TwoSlopeNorm(0.5, 0.5 - reach, 0.5 + reach)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=DIVERGING, norm=norm, aspect="equal")
    _write_values(axes, values, norm)
    _hatch_unknown(axes, values)
    _frame_self(axes, sources, targets)
    _part_large_from_rare(axes, sources, targets)
    _name_cohorts(axes, sources, targets)
    _explain(figure, axes, image, f"{label}   (0.5 = chance)", beyond=furthest > reach)
    _key(figure, subtitle, unknown=not np.isfinite(values).all())
    figure.suptitle(title, fontweight="bold", x=0.01, ha="left")
    return save_figure(path, figure)


def _name_cohorts(axes: Axes, sources: list[str], targets: list[str]) -> None:
    axes.set_xticks(range(len(targets)), [code.upper() for code in targets], rotation=90)
    axes.set_yticks(range(len(sources)), [code.upper() for code in sources])
    axes.tick_params(length=0)
    axes.set_xlabel("target cohort")
    axes.set_ylabel("source cohort")
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)


def _explain(figure: Figure, axes: Axes, image: AxesImage, label: str, *, beyond: bool) -> None:
    """The colour bar; `beyond`: are there values it does not reach?"""
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, aspect=30, extend="both" if beyond else "neither")
    bar.set_label(label)
    bar.outline.set_visible(False)


def _key(figure: Figure, subtitle: str, *, unknown: bool) -> None:
    keys = [Patch(facecolor="none", edgecolor="black", linewidth=0.8, label="self-transfer (matched folds)")]
    if unknown:
        keys.append(Patch(facecolor="white", edgecolor=NEUTRAL, hatch="////", label="unknown"))
    figure.legend(
        handles=keys, loc="outside lower left", ncols=2, title=subtitle, title_fontsize=SMALL, alignment="left"
    )


def _write_values(axes: Axes, values: np.ndarray, norm: TwoSlopeNorm) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            strong = abs(float(norm(value)) - 0.5) > 0.32
            text = f"{value:.2f}".replace("0.", ".") if value < 1 else "1"
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=SMALLEST,
                color="white" if strong else "#222222",
            )


def _hatch_unknown(axes: Axes, values: np.ndarray) -> None:
    for row, column in np.argwhere(~np.isfinite(values)):
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                facecolor="white",
                edgecolor=NEUTRAL,
                hatch="////",
                linewidth=0,
            )
        )


def _frame_self(axes: Axes, sources: list[str], targets: list[str]) -> None:
    for code in set(sources) & set(targets):
        corner = (targets.index(code) - 0.5, sources.index(code) - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor="black", linewidth=0.8))


def _part_large_from_rare(axes: Axes, sources: list[str], targets: list[str]) -> None:
    for codes, line in ((sources, axes.axhline), (targets, axes.axvline)):
        sizes = [cohort_info(code).size for code in codes]
        for position in range(1, len(codes)):
            if sizes[position] != sizes[position - 1]:
                line(position - 0.5, color="black", linewidth=1.0)
