"""What a target's searches tried: every trial in a table, and a picture of history, importance and coordinates."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
import pandas as pd
from matplotlib.axes import Axes

from cropkt.experiments.routing.job import TrialRecord
from cropkt.experiments.routing.space import SearchSpace
from cropkt.report.style import DIVERGING, LOW, NEUTRAL, SMALLEST, new_figure, save_figure, styled

FEWEST_TRIALS = 8
"""Importance of settings is not estimated from fewer complete trials."""


def trial_table(trials: Mapping[int, Sequence[TrialRecord]], default: Mapping[str, Any]) -> pd.DataFrame:
    """One row a trial of a target's searches, by fold: fold, number, state, score, loss, seconds, failed and the
    settings; the first trial of a fold has the `default` ones."""
    rows = [
        {
            "fold": fold,
            **{name: getattr(trial, name) for name in ("number", "state", "score", "loss", "seconds", "failed")},
            **{name: trial.values.get(name, value) for name, value in default.items()},
        }
        for fold, of_fold in trials.items()
        for trial in of_fold
    ]
    return pd.DataFrame(rows)


def importances(table: pd.DataFrame, space: SearchSpace) -> dict[str, float]:
    """Share of the score's variance that each setting explains, over all folds' complete trials (fANOVA, Hutter et al.
    2014); empty with too few trials. A fold's mean is taken off first: folds differ in their patients."""
    complete = table[table["state"] == "complete"]
    distributions = space.distributions()
    if len(complete) < FEWEST_TRIALS:
        return {}
    centred = complete["score"] - complete.groupby("fold")["score"].transform("mean")
    study = optuna.create_study(direction="maximize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for score, row in zip(centred, complete[list(distributions)].to_dict("records"), strict=True):
            params = {str(name): value for name, value in row.items()}
            try:
                study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=float(score)))
            except ValueError:  # the default settings need not lie in the space
                continue
        if len(study.trials) < FEWEST_TRIALS or centred.abs().max() == 0:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}


@styled
def draw_search(path: Path, target: str, table: pd.DataFrame, space: SearchSpace) -> Path:
    """History, importance and parallel coordinates of a target's searches; returns `path`."""
    figure, (history, share, lines) = new_figure(2.4, columns=(1, 0.9, 1.8))
    _draw_history(history, table)
    _draw_importance(share, importances(table, space))
    _draw_coordinates(lines, table, space)
    figure.suptitle(f"{target}: search for the {space.kind}, {len(table)} trials over {table['fold'].nunique()} folds")
    return save_figure(path, figure)


def _draw_history(axes: Axes, table: pd.DataFrame) -> None:
    for fold, rows in table.groupby("fold"):
        complete = rows["score"].where(rows["state"] == "complete")
        line = axes.step(rows["number"], complete.cummax().ffill(), where="post", label=f"fold {fold}")[0]
        axes.plot(rows["number"], complete, "o", color=line.get_color(), markersize=2)
    axes.set_xlabel("trial (0: default settings)")
    axes.set_ylabel("C-index on inner splits; line: best so far")
    axes.legend()
    axes.set_title("history")


def _draw_importance(axes: Axes, shares: Mapping[str, float]) -> None:
    axes.set_title("importance of settings")
    if not shares:
        axes.text(0.5, 0.5, "too few trials to tell", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color=LOW)
    axes.set_xlabel("share of variance explained")


def _draw_coordinates(axes: Axes, table: pd.DataFrame, space: SearchSpace) -> None:
    """Complete trials as lines over the settings, coloured by how far they are above their fold's mean."""
    complete = table[table["state"] == "complete"]
    centred = complete["score"] - complete.groupby("fold")["score"].transform("mean")
    reach = max(float(centred.abs().max()) if len(centred) else 0.0, 1e-6)
    names = list(space.dimensions)
    places = np.column_stack([_place(complete[name], space, name) for name in names])
    colours = matplotlib.colormaps[DIVERGING]
    for place, value in sorted(zip(places, centred, strict=True), key=lambda item: item[1]):
        axes.plot(range(len(names)), place, color=colours(0.5 + value / (2 * reach)), linewidth=1.0, alpha=0.85)
    for number, name in enumerate(names):
        dimension = space.dimensions[name]
        ends = dimension.choices or (dimension.low, dimension.high)
        axes.axvline(number, color=NEUTRAL, linewidth=0.7)
        for place, end in zip(np.linspace(0, 1, len(ends)), ends, strict=True):
            text = f"{end:g}" if isinstance(end, int | float) and not isinstance(end, bool) else str(end)
            axes.text(number + 0.03, place, text, fontsize=SMALLEST, va="center")
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right")
    axes.set_yticks([])
    axes.set_title(f"trials (orange: up to {reach:.2f} above their fold's mean, purple: below)")
    axes.spines["left"].set_visible(False)


def _place(values: pd.Series, space: SearchSpace, name: str) -> np.ndarray:
    """Where values lie on their axis, 0 to 1."""
    dimension = space.dimensions[name]
    if dimension.choices:
        known = list(dimension.choices)
        return np.array([known.index(v) if v in known else 0 for v in values]) / max(1, len(known) - 1)
    assert dimension.low is not None
    assert dimension.high is not None
    low, high, at = float(dimension.low), float(dimension.high), values.to_numpy(dtype=float)
    if dimension.log:
        low, high, at = np.log(low), np.log(high), np.log(at)
    return np.clip((at - low) / (high - low), 0, 1)
