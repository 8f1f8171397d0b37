"""Which source to take for a target, chosen without its test patients; and what choosing on them would have shown.

- honest: in each fold the source with the best C-index on the target's training patients of that fold.
- oracle: the source with the best C-index on the test patients. Nobody can make this choice; it is an upper bound.
- rank_average: all sources, each patient's risks as percentiles among the training patients, averaged.
- majority_vote: all sources, the share of models whose risk for a patient is above their training patients' median.

The target's own model is no candidate: it has been trained on the patients it would be chosen on.

The oracle has been chosen on the very patients it is measured on, so it has neither error nor p-value.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cropkt.data.patients.folds import Fold
from cropkt.survival.percentile import risk_percentile
from cropkt.survival.repeats import RepeatedEstimate, repeated_c_index
from cropkt.transfer.rows import TRAINING_TOO, MethodRow
from cropkt.transfer.significance import TargetPredictions, at_home, one_sided, paired_difference

ORACLE = "oracle"
PRE_CHOSEN = ("honest", "rank_average", "majority_vote")
"""Uses of other cancers that are settled without the patients they are tested on."""
UNTRAINED = ("rank_average", "majority_vote", ORACLE)
"""Methods that learn nothing of the target's training patients but where percentiles and medians lie."""


def choose_sources(
    predictions: TargetPredictions,
    sources: Sequence[str],
    splits: Sequence[Fold],
    repeats: Sequence[tuple[TargetPredictions, Sequence[Fold]]] = (),
) -> list[MethodRow]:
    """A row per method. `sources` are the candidates, other cohorts than the target; empty without candidates.

    repeats: further cross-validations of the target, each with its folds (judgement/repeats.py): choices are made anew
    in each.
    """
    if not sources:
        return []
    risks, chosen = source_choices(predictions, sources, splits)
    further = [(of, source_choices(of, sources, their_folds)[0]) for of, their_folds in repeats]
    return method_rows(predictions, risks, chosen, further)


def source_choices(
    predictions: TargetPredictions, sources: Sequence[str], splits: Sequence[Fold]
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """(M, B) risks by method, the target's own model ("self") among them; and the source chosen in each fold."""
    trained = [np.isin(predictions.patients, [*fold.train, *fold.validation]) for fold in splits]
    honest = [_best(predictions, sources, in_training) for in_training in trained]
    oracle = _best(predictions, sources, predictions.tested_in >= 0)
    own = {"self": predictions.risk[predictions.own]} if predictions.own in predictions.risk else {}
    risks = {
        **own,
        "honest": _chosen_risk(predictions, honest),
        ORACLE: predictions.risk[oracle],
        "rank_average": _ensemble(predictions, sources, trained, risk_percentile),
        "majority_vote": _ensemble(predictions, sources, trained, _above_median),
    }
    return risks, {"honest": honest, ORACLE: [oracle] * len(splits)}


Case = tuple[TargetPredictions, Mapping[str, np.ndarray]]
"""A cross-validation of the target, and the risks (M, B) of each method in it."""


def method_rows(
    predictions: TargetPredictions,
    risks: Mapping[str, np.ndarray],
    chosen: Mapping[str, Sequence[str]],
    repeats: Sequence[Case] = (),
) -> list[MethodRow]:
    """A row per method of `risks`, with the sources it has `chosen`.

    `risks` by method are (M, B), NaN where a model does not score a patient of `predictions`. A method is held against
    whatever the target can train at home (significance.at_home, as far as `risks` and `predictions` have it), on the
    patients whom both score. C-indices and differences are means over `predictions` and those `repeats` that have the
    method, and the rival.
    """
    cases = [(predictions, risks), *repeats]
    rows = [_row(cases, name, tuple(chosen.get(name, ()))) for name in risks]
    best = next((row.c_index_pooled for row in rows if row.method == ORACLE), np.nan)
    return [replace(row, gap_to_oracle=best - row.c_index_pooled) for row in rows]


def _row(cases: Sequence[Case], name: str, sources: tuple[str, ...]) -> MethodRow:
    predictions, risks = cases[0]
    scores = [of.score(by_method[name]) for of, by_method in cases if name in by_method]
    found = repeated_c_index([of.pooled for of in scores], trained=0 if name in UNTRAINED else 1)
    scored = np.isfinite(risks[name]).any(axis=0)
    lower, upper = found.interval()
    row = MethodRow(
        target=predictions.own,
        method=name,
        sources=sources,
        c_index_mean=float(np.mean([of.mean.c_index for of in scores])),
        c_index_pooled=found.estimate,
        standard_error=found.standard_error,
        interval_lower=lower,
        interval_upper=upper,
        n_events=int(predictions.event[scored].sum()),
        folds=len(np.unique(predictions.tested_in[scored])),
    )
    if found.n_repeats > 1:
        row = replace(row, error_covers=TRAINING_TOO)
    if name != "self":
        row = _compared(row, {rival: _against(cases, name, rival) for rival in at_home() if _home(cases[0], rival)})
    if name == ORACLE:
        return replace(
            row, standard_error=np.nan, interval_lower=np.nan, interval_upper=np.nan, p_self=np.nan, p_home=np.nan
        )
    return row


def _home(case: Case, rival: str) -> list[np.ndarray]:
    """The risks of what the target trains at home, none where it has not been measured."""
    predictions, risks = case
    found = risks.get(rival, predictions.risk.get(rival))
    return [] if found is None else [found]


def _compared(row: MethodRow, against: Mapping[str, RepeatedEstimate]) -> MethodRow:
    """`row` with differences and p-values `against` what is at home; all of it must have been measured for p_home."""
    if "self" in against:
        row = replace(row, difference_self=against["self"].estimate, p_self=against["self"].p_of_difference())
    trained = [found for found in against.values() if np.isfinite(found.estimate)]
    if not trained or set(against) != set(at_home()):
        return row
    p_values = [one_sided(found.p_of_difference(), found.estimate) for found in trained]
    return replace(row, difference_home=min(found.estimate for found in trained), p_home=float(np.max(p_values)))


def _against(cases: Sequence[Case], name: str, rival: str) -> RepeatedEstimate:
    """The difference, on the patients whom both score."""
    scores = []
    for predictions, risks in cases:
        for theirs in _home((predictions, risks), rival) if name in risks else ():
            both = np.isfinite(risks[name]).any(axis=0) & np.isfinite(theirs).any(axis=0)
            scores.append([predictions.score(np.where(both, of, np.nan)).pooled for of in (risks[name], theirs)])
    trained = 1 if name in UNTRAINED else 2
    return paired_difference([ours for ours, _ in scores], [theirs for _, theirs in scores], trained=trained)


def _best(predictions: TargetPredictions, sources: Sequence[str], among: np.ndarray) -> str:
    """The source with the best pooled C-index on the patients `among` (B,), the first if equal or unknown."""
    found = [predictions.score(np.where(among, predictions.risk[source], np.nan)).pooled.c_index for source in sources]
    return sources[int(np.argmax(np.nan_to_num(found, nan=-1.0)))]


def _chosen_risk(predictions: TargetPredictions, chosen: Sequence[str]) -> np.ndarray:
    """(M, B): in each fold the risks of the source chosen for it; M is that of the source with most models."""
    models = max(len(predictions.risk[source]) for source in chosen)
    risk = np.full((models, len(predictions.patients)), np.nan)
    for fold, source in enumerate(chosen):
        tested = predictions.tested_in == fold
        of_source = predictions.risk[source]
        risk[: len(of_source), tested] = of_source[:, tested]
    return risk


def _ensemble(
    predictions: TargetPredictions,
    sources: Sequence[str],
    trained: list[np.ndarray],
    value: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """(1, B): in each fold the mean over all models of `value(risk, risks of the fold's training patients)`."""
    risk = np.full((1, len(predictions.patients)), np.nan)
    models = np.concatenate([predictions.risk[source] for source in sources])
    for fold, in_training in enumerate(trained):
        tested = predictions.tested_in == fold
        votes = [value(model[tested], model[in_training & np.isfinite(model)]) for model in models]
        risk[0, tested] = np.nanmean(votes, axis=0) if tested.any() else []
    return risk


def _above_median(risk: np.ndarray, training: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(risk), (risk > np.median(training)).astype(float), np.nan)


def choice_sentence(row: Mapping[Any, Any], own: float) -> str:
    """Whom a target should take, in words. row: of source_choice.parquet, method "honest"; own: its own C-index."""
    target, source = row["target"].upper(), Counter(row["sources"]).most_common(1)[0][0].upper()
    lower, upper = _number(row["interval_lower"]), _number(row["interval_upper"])
    found = f"{_number(row['c_index_pooled'])} ({lower} to {upper})"
    if row["c_index_pooled"] <= 0.5 and not own > 0.5:
        return f"for {target} nothing predicts: {source} {found}, own model {_number(own)}"
    if not np.isfinite(own):
        return f"for {target} take {source}: {found}, own model unknown"
    if row["difference_self"] > 0:
        return f"for {target} take {source}: {found}, own model {_number(own)}"
    return f"for {target} keep its own model: {_number(own)}; {source} {found}"


def _number(value: float) -> str:
    """.87; 1.00; unknown"""
    return f"{value:.2f}".removeprefix("0") if np.isfinite(value) else "unknown"
