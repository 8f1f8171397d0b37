"""The transfer matrix as a picture for a paper: rows are sources, columns are targets, large and rare apart."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Patch, Rectangle

from cropkt.cohorts import cohort_info
from cropkt.files import atomic_path

COLOURS = "PuOr_r"
"""Diverging, colour-blind safe, and legible in grey: purple is worse than chance, orange is better."""


def draw_matrix(matrix: pd.DataFrame, path: Path, *, title: str, subtitle: str = "", label: str = "C-index") -> None:
    """Write `matrix` (sources x targets, C-index, NaN where unknown) to `path` (.png, .pdf or .svg), atomically.

    The colour scale is centred on 0.5 and symmetric; unknown cells are hatched; self-transfer cells are framed;
    a line parts the large cohorts from the rare ones.
    """
    sources, targets = list(matrix.index), list(matrix.columns)
    values = matrix.to_numpy(dtype=float)
    furthest = float(np.nanmax(np.abs(values - 0.5))) if np.isfinite(values).any() else 0.0
    # Cohorts with a handful of events reach 0 or 1 by luck; they must not wash out everybody else's colours.
    reach = min(0.3, max(0.2, np.ceil(furthest * 20) / 20))
    cell = 0.36
    width, height = 3.4 + cell * len(targets), 2.1 + cell * len(sources)
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    norm = TwoSlopeNorm(0.5, 0.5 - reach, 0.5 + reach)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=COLOURS, norm=norm, aspect="equal")
    _write_values(axes, values, norm)
    _hatch_unknown(axes, values)
    _frame_self(axes, sources, targets)
    _part_large_from_rare(axes, sources, targets)
    axes.set_xticks(range(len(targets)), [code.upper() for code in targets], rotation=90, fontsize=8)
    axes.set_yticks(range(len(sources)), [code.upper() for code in sources], fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel("target cohort", fontsize=10)
    axes.set_ylabel("source cohort", fontsize=10)
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    colourbar = figure.colorbar(
        image, ax=axes, shrink=0.6, pad=0.02, aspect=30, extend="both" if furthest > reach else "neither"
    )
    colourbar.set_label(f"{label}   (0.5 = chance)", fontsize=9)
    colourbar.ax.tick_params(labelsize=8)
    colourbar.outline.set_visible(False)
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    keys = [Patch(facecolor="none", edgecolor="black", linewidth=1.2, label="self-transfer (matched folds)")]
    if not np.isfinite(values).all():
        keys.append(Patch(facecolor="white", edgecolor="#999999", hatch="////", label="unknown"))
    axes.legend(
        handles=keys,
        loc="upper left",
        bbox_to_anchor=(0, -0.01),
        ncols=2,
        fontsize=8,
        frameon=False,
        borderaxespad=0,
    )
    if subtitle:
        axes.text(1, -0.012, subtitle, transform=axes.transAxes, ha="right", va="top", fontsize=8, color="#444444")
    with atomic_path(path) as temporary:
        kind = path.suffix.removeprefix(".")
        figure.savefig(temporary, format=kind, dpi=160, metadata={"Software": None} if kind == "png" else None)
    plt.close(figure)


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
                fontsize=6.5,
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
                edgecolor="#999999",
                hatch="////",
                linewidth=0,
            )
        )


def _frame_self(axes: Axes, sources: list[str], targets: list[str]) -> None:
    for code in set(sources) & set(targets):
        corner = (targets.index(code) - 0.5, sources.index(code) - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor="black", linewidth=1.2))


def _part_large_from_rare(axes: Axes, sources: list[str], targets: list[str]) -> None:
    for codes, line in ((sources, axes.axhline), (targets, axes.axvline)):
        sizes = [cohort_info(code).size for code in codes]
        for position in range(1, len(codes)):
            if sizes[position] != sizes[position - 1]:
                line(position - 0.5, color="black", linewidth=1.6)
