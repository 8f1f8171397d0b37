"""How pictures look and are written: one palette, sizes of a journal, PNG and PDF and SVG of each.

Figures are made without pyplot, so there is no backend to choose and nothing to close. Widths are those of one and two
columns in most journals; no text is smaller than 5 points.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cropkt.files import atomic_path

HIGH, HIGHER, LOW = "#b35806", "#f1a340", "#542788"
"""Orange, light orange, purple: told apart by everybody, and in print."""
NEUTRAL, QUIET, LIGHT, LIGHTEST = "#8c959f", "#57606a", "#b8bcc2", "#d8dade"
CHOSEN = "#1b7837"
UNKNOWN = "#d8dade"
"""A cell without an answer."""
PALETTE = {"high": HIGH, "higher": HIGHER, "low": LOW, "neutral": NEUTRAL, "quiet": QUIET, "chosen": CHOSEN}
DARK_PALETTE = {
    "high": "#f28e2b",
    "higher": "#fdc98a",
    "low": "#b7a3e3",
    "neutral": NEUTRAL,
    "quiet": "#9da7b3",
    "chosen": "#5dbb74",
}
"""What the page's scripts draw with, on white and in the dark."""
DIVERGING = "PuOr_r"
"""Colour-blind safe and legible in grey: purple is below the middle, orange above."""
ONE_COLUMN, TWO_COLUMNS = 89 / 25.4, 183 / 25.4
"""Inches."""
TEXT, SMALL, SMALLEST = 7.0, 6.0, 5.0
"""Points."""
DPI = 300
_RC: Any = {
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "figure.titlesize": TEXT + 1,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text in an editor
    "svg.fonttype": "none",
    "svg.hashsalt": "cropkt",
}
_NO_DATES = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}

FORMATS = tuple(_NO_DATES)
"""What `save_figure` writes of a figure."""

Draw = TypeVar("Draw", bound=Callable[..., Any])


def styled(draw: Draw) -> Draw:
    """A decorator: `draw` draws in the style of this module; nobody else's pictures change."""
    return matplotlib.rc_context(_RC)(draw)


def new_figure(
    height: float, *, width: float = TWO_COLUMNS, columns: Sequence[float] = (1,), share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of `width` x `height` inches with one row of axes of the relative widths `columns`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(columns), squeeze=False, sharey=share_y, width_ratios=list(columns))
    return figure, list(np.asarray(axes)[0])


@styled
def save_figure(path: Path, figure: Figure) -> Path:
    """Write `figure` to `path` (.png, 300 dpi) and beside it as .pdf and .svg; the same figure gives the same bytes."""
    for kind, metadata in _NO_DATES.items():
        with atomic_path(path.with_suffix(f".{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
    return path
