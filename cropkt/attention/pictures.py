"""Attention as a pathologist sees it: the tissue from above, coloured by rank, over the slide where its image is there.

Colour is the rank of a patch within its slide, as attention itself differs by orders of magnitude between patches and
models. The title says how concentrated it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cropkt.attention.geometry import Patches
from cropkt.attention.look import TOP, Look, Overlap
from cropkt.attention.slide_image import SlideImage
from cropkt.report.style import HIGH, LIGHTEST, LOW, QUIET, SMALL, TEXT, TWO_COLUMNS, save_figure, styled

COLOURS = LinearSegmentedColormap.from_list("attention", matplotlib.colormaps["YlGnBu"](np.linspace(0.08, 1, 256)))
BOTH = "#1a1a1a"
OPACITY = 0.7
"""Of colours over a slide."""
LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue (Rec. 601)."""
MOST_COLUMNS = 3
ROUND_LENGTHS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
"""Millimetres that a scale bar may have."""
MARGIN = 0.02
"""Around the tissue, in its width; below it four times as much, for the scale bar."""
HEADING = 0.35
"""Inches for the title of a map, and of the figure."""
HIGHEST = 5.0
"""Inches of a map."""


def patch_colours(percentile: np.ndarray) -> np.ndarray:
    """(N, 4) colours of ranks between 0 and 1."""
    return COLOURS(percentile)


@styled
def draw_attention(
    path: Path, found: Look, patches: Patches, image: SlideImage | None = None, scale: float | None = None
) -> Path:
    """One map for each source, after the slide itself where there is an image. scale: micrometres per unit of the
    patches' coordinates, where known."""
    figure, axes = _panels(len(found.sources) + (image is not None), patches, below=0.1)
    if image is not None:
        _show_slide(axes[0], image)
        _title(axes[0], "slide", "")
    for axis, source, rank, held in zip(
        axes[image is not None :], found.sources, found.percentile, found.held_by_top, strict=True
    ):
        colours = patch_colours(rank)
        if image is not None:
            _show_slide(axis, image, below_colours=True)
            colours[:, 3] = OPACITY
        _fill(axis, patches, colours, seams=image is None)
        _title(axis, source.upper(), f"top {TOP:.0%} of patches hold {held:.0%} of attention")
    _scale_bar(axes[0], patches, scale)
    bar = figure.colorbar(
        ScalarMappable(cmap=COLOURS), ax=axes, location="bottom", shrink=0.35, aspect=30, pad=0.01, ticks=[0, 0.5, 1]
    )
    bar.ax.set_xticklabels(["least", "median patch of the slide", "most attention"])
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    figure.suptitle(found.slide, y=0.99)
    return save_figure(path, figure)


@styled
def draw_overlap(
    path: Path, found: Look, patches: Patches, overlaps: Sequence[Overlap], scale: float | None = None
) -> Path:
    """Where two sources look most, and where both do: a map for every two sources of `overlaps`."""
    figure, axes = _panels(len(overlaps), patches, below=0.35)
    top = dict(zip(found.sources, found.top, strict=True))
    for axis, overlap in zip(axes, overlaps, strict=True):
        one, other = top[overlap.one], top[overlap.other]
        colours = np.tile(to_rgba(LIGHTEST), (len(one), 1))
        for where, colour in ((one & ~other, HIGH), (other & ~one, LOW), (one & other, BOTH)):
            colours[where] = to_rgba(colour)
        _fill(axis, patches, colours, seams=True)
        shared = f"attention shared: {overlap.overlap:.2f} (by chance {overlap.by_chance:.2f})"
        _title(axis, f"{overlap.one.upper()} and {overlap.other.upper()}", shared)
        alone = [f"{name.upper()} alone" for name in (overlap.one, overlap.other)]
        names = (*alone, f"both: {overlap.shared_top:.0%} of each")
        marks = [Patch(color=colour, label=name) for colour, name in zip((HIGH, LOW, BOTH), names, strict=True)]
        axis.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, handlelength=1, borderpad=0.2)
    _scale_bar(axes[0], patches, scale)
    figure.suptitle(f"{found.slide}: the {TOP:.0%} of patches with most attention", y=0.99)
    return save_figure(path, figure)


def _panels(count: int, patches: Patches, below: float) -> tuple[Figure, list[Axes]]:
    """Axes in rows of equal width, as high as the tissue asks; `below` inches are left under each row."""
    columns = min(count, MOST_COLUMNS)
    rows = -(-count // columns)
    left, right, top, bottom = _extent(patches)
    width = TWO_COLUMNS if columns > 1 else TWO_COLUMNS * 0.6
    each = min((width - 0.2) / columns * (bottom - top) / (right - left), HIGHEST) + HEADING + below
    figure = Figure(figsize=(width, rows * each + HEADING), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[:count]:
        axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, axes[:count]


def _extent(patches: Patches) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of the tissue with a margin; y goes down, as on a slide."""
    (left, top), (right, bottom) = patches.corners.min(axis=0), patches.corners.max(axis=0) + patches.size
    margin = MARGIN * (right - left)
    return left - margin, right + margin, top - margin, bottom + 4 * margin


def _fill(axis: Axes, patches: Patches, colours: np.ndarray, *, seams: bool) -> None:
    """Squares; with `seams` their edges are drawn too, so that no light shines between opaque neighbours."""
    square = patches.size * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    corners = patches.corners[:, None, :] + square
    edges = {"edgecolors": colours, "linewidths": 0.15} if seams else {"linewidths": 0}
    axis.add_collection(PolyCollection(list(corners), facecolors=colours, rasterized=True, **edges))


def _show_slide(axis: Axes, image: SlideImage, *, below_colours: bool = False) -> None:
    """The thumbnail; below colours in pale grey, so that stain does not mix with them."""
    pixels = image.thumbnail / 255
    if below_colours:
        grey = pixels @ LUMINANCE
        pixels = np.repeat((0.3 + 0.7 * grey)[:, :, None], 3, axis=2)
    limits = axis.get_xlim(), axis.get_ylim()
    axis.imshow(pixels, extent=(0, image.width, image.height, 0), interpolation="antialiased", rasterized=True)
    axis.set(xlim=limits[0], ylim=limits[1])


def _title(axis: Axes, title: str, subtitle: str) -> None:
    axis.set_title(title, fontweight="bold", fontsize=TEXT, pad=12)
    axis.text(0.5, 1.01, subtitle, transform=axis.transAxes, ha="center", va="bottom", fontsize=SMALL, color=QUIET)


def _scale_bar(axis: Axes, patches: Patches, scale: float | None) -> None:
    """A bar of a round length, about a fifth of the tissue, under it; none where the scale is not known."""
    if scale is None:
        return
    left, right, _, bottom = _extent(patches)
    fifth = (right - left) * scale / 1000 / 5
    length = max([mm for mm in ROUND_LENGTHS if mm <= fifth], default=ROUND_LENGTHS[0])
    margin = MARGIN * (right - left)
    start, end, height = left + margin, left + margin + length * 1000 / scale, bottom - margin
    axis.plot([start, end], [height, height], color=QUIET, linewidth=1.5, solid_capstyle="butt")
    beside: Any = {"xytext": (3, 0), "textcoords": "offset points", "va": "center"}
    axis.annotate(f"{length:g} mm", (end, height), fontsize=SMALL, color=QUIET, **beside)
