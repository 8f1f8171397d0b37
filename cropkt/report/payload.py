"""What the page's scripts read: the measured numbers, rounded to what is shown and laid out by column, as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from cropkt.cohorts import cohort_info
from cropkt.report.curves import Curve, RiskCurves, target_curves
from cropkt.report.headline import sizes
from cropkt.report.order import colour_reach, matrix_orders
from cropkt.report.read import ResultTables, has_comparison
from cropkt.report.style import DARK_PALETTE, DIVERGING, PALETTE
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.rows import PAIRS, Status
from cropkt.transfer.significance import compared
from cropkt.transfer.store import BETWEEN_AND_WITHIN, ResultsFolder

SCALE_STOPS = 21
CHOICES = {
    "honest": "honest choice",
    "oracle": "oracle choice (upper bound)",
    "rank_average": "rank average of all sources",
    "majority_vote": "majority vote of all sources",
}
"""Ways to choose or combine sources, and what the page calls them, in its order."""
Shown = float | int | None
"""A number with as many digits as are shown; None where it is unknown."""


@dataclass(frozen=True)
class CohortShown:
    """A row and a column of the matrix."""

    code: str
    name: str
    organ: str
    group: str
    patients: Shown
    events: Shown
    size: str


@dataclass(frozen=True)
class FoldsShown:
    """columns: by target, [test fold, patients, events]; cells: by pair, [source fold, test fold, C x 1000]."""

    columns: dict[str, list[list[int]]]
    cells: dict[int, list[list[int | None]]]


@dataclass(frozen=True)
class CurvesShown:
    """Kaplan-Meier curves of the halves that a pair's risk divides; ratio: of hazards, with its interval."""

    p: Shown
    ratio: list[Shown]
    ticks: list[Shown]
    high: list[Any]
    low: list[Any]


@dataclass(frozen=True)
class Summary:
    """How well something ranks a target's patients."""

    c_index_pooled: Shown
    interval_lower: Shown
    interval_upper: Shown
    c_index_mean: Shown
    n_events: Shown


@dataclass(frozen=True)
class ChoiceShown(Summary):
    """A way to choose or combine sources (CHOICES), the sources, and its distance to the oracle's choice."""

    method: str
    gap: Shown
    sources: list[str]


def build_payload(tables: ResultTables, results: ResultsFolder) -> dict[str, Any]:
    """Everything the page draws. Pairs are in row order: source * cohorts + target."""
    relied_on = tables.relied_on()
    return {
        "cohorts": _cohorts(tables),
        "orders": matrix_orders(relied_on),
        "scale": _colour_scale(),
        "reach": colour_reach(relied_on.to_numpy()),
        "judged": tables.judged,
        "compared": [name for name in compared() if has_comparison(tables, name)],
        "pairs": {
            **{name: [_number(value) for value in tables.pairs[name]] for name in _numbers()},
            "confounded_by": ["" if pd.isna(names) else str(names) for names in tables.pairs["confounded_by"]],
            "state": list(tables.pairs["state"]),
            "status": [_status(*said) for said in zip(tables.pairs["status"], tables.pairs["reason"], strict=True)],
        },
        "folds": _folds(tables),
        "curves": _curves(tables, results),
        "labels": {**BASELINES.labels(), "self": "own model"},
        "choices": CHOICES,
        "palette": {"light": PALETTE, "dark": DARK_PALETTE},
        "baselines": _baselines(tables),
        "choice": _choice(tables),
    }


def _numbers() -> list[str]:
    return [name for name in PAIRS.numbers if name != "seconds"]


def _status(status: str | None, reason: str | None) -> str | None:
    """The status as the page shows it, with the reason of a failure; None for a pair that was not measured."""
    return None if pd.isna(status) else f"{status}: {reason}" if status == Status.FAILED else str(status)


def _cohorts(tables: ResultTables) -> list[CohortShown]:
    largest = tables.pairs.groupby("target")[["n_patients", "n_events"]].max()
    return [
        CohortShown(
            code,
            name=cohort_info(code).name,
            organ=cohort_info(code).organ,
            group=cohort_info(code).group,
            patients=_number(largest.loc[code, "n_patients"]),
            events=_number(largest.loc[code, "n_events"]),
            size=size,
        )
        for code, size in zip(tables.codes, sizes(tables), strict=True)
    ]


def _colour_scale() -> list[list[Any]]:
    stops = np.linspace(0, 1, SCALE_STOPS)
    colours = [matplotlib.colors.to_hex(colour) for colour in matplotlib.colormaps[DIVERGING](stops)]
    return [[round(float(stop), 4), colour] for stop, colour in zip(stops, colours, strict=True)]


def _folds(tables: ResultTables) -> FoldsShown:
    ours = tables.folds[tables.folds["mode"].isin(BETWEEN_AND_WITHIN)]
    widest = ours.groupby(["target", "target_fold"])[["n_patients", "n_events"]].max().reset_index()
    columns: dict[str, list[list[int]]] = {}
    for target, *counts in widest.itertuples(index=False):
        columns.setdefault(str(target), []).append([int(count) for count in counts])
    cells: dict[int, list[list[int | None]]] = {}
    measured = ours[["source", "target", "source_fold", "target_fold", "c_index"]]
    place = {code: position for position, code in enumerate(tables.codes)}
    for source, target, source_fold, target_fold, c_index in measured.itertuples(index=False):
        position = place[source] * len(place) + place[target]
        cells.setdefault(position, []).append([int(source_fold), int(target_fold), _thousandths(c_index)])
    return FoldsShown(columns, cells)


def _curves(tables: ResultTables, results: ResultsFolder) -> dict[int, CurvesShown]:
    codes = list(tables.codes)
    curves = {}
    for number, target in enumerate(codes):
        for source, found in target_curves(results, target, tables.measured(target)):
            curves[codes.index(source) * len(codes) + number] = _curve_pair(found)
    return curves


def _curve_pair(curves: RiskCurves) -> CurvesShown:
    return CurvesShown(
        p=_number(curves.difference.p_value),
        ratio=[_number(getattr(curves.difference, name)) for name in ("ratio", "lower", "upper")],
        ticks=[_number(tick) for tick in curves.ticks],
        high=_curve(curves.high),
        low=_curve(curves.low),
    )


def _steps(days: np.ndarray) -> list[int]:
    """Ascending whole days, each as the days since the one before: half as many digits."""
    return [int(step) for step in np.diff(np.round(days), prepend=0)]


def _curve(curve: Curve) -> list[Any]:
    """[days of steps, survival x 1000, days of censoring, numbers at risk, patients, events, lower, upper x 100]."""
    return [
        _steps(curve.time),
        [_thousandths(value) for value in curve.survival],
        _steps(curve.censored),
        [int(count) for count in curve.at_risk],
        curve.patients,
        curve.events,
        *([round(100 * float(value)) for value in values] for values in (curve.lower, curve.upper)),
    ]


def _baselines(tables: ResultTables) -> dict[str, dict[str, Summary]]:
    found: dict[str, dict[str, Summary]] = {}
    for row in tables.baselines.reset_index().to_dict("records"):
        found.setdefault(str(row["target"]), {})[str(row["mode"])] = Summary(**_summary(row))
    return found


def _choice(tables: ResultTables) -> dict[str, list[ChoiceShown]]:
    found: dict[str, list[ChoiceShown]] = {}
    for row in tables.choice.to_dict("records"):
        entry = ChoiceShown(
            **_summary(row),
            method=str(row["method"]),
            gap=_number(row["gap_to_oracle"]),
            sources=_listed(row["sources"]),
        )
        found.setdefault(str(row["target"]), []).append(entry)
    return found


def _listed(sources: Any) -> list[str]:
    return [str(source) for source in sources] if isinstance(sources, Iterable) else []


def _summary(row: Mapping[Any, Any]) -> dict[str, Shown]:
    return {item.name: _number(row.get(item.name)) for item in fields(Summary)}


def _thousandths(value: Any) -> int | None:
    return None if pd.isna(value) else round(float(value) * 1000)


def _number(value: Any) -> Shown:
    """Four significant digits, None for NaN, whole numbers as such."""
    if value is None or not np.isfinite(value):
        return None
    rounded = float(f"{float(value):.4g}") if abs(value) < 1000 else round(float(value))
    return int(rounded) if rounded == int(rounded) else rounded
