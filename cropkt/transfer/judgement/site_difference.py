"""How much of a cohort's own C-index is knowing its hospitals?

The same patients, cross-validated with folds that keep a site together (`splits: site`) and with plain ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cropkt.errors import InputError
from cropkt.survival.concordance import difference_interval
from cropkt.survival.repeats import repeated_difference
from cropkt.transfer.judgement.repeats import on_patients_of, repeat_folder, stored_repeats
from cropkt.transfer.significance import TargetPredictions, at_home
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class SiteDifference:
    """A model that the target trains on its own patients, by both kinds of folds.

    model: "self", or the name of a baseline. difference: C-index by site minus plain, on the patients that both test,
    with its 95 % interval. repeats: cross-validations of each kind; with one, the interval covers the patients only.
    """

    target: str
    model: str
    patients: int
    events: int
    c_index_plain: float
    c_index_by_site: float
    difference: float
    lower: float
    upper: float
    repeats: int


def site_differences(plain: ResultsFolder, by_site: ResultsFolder, targets: Iterable[str]) -> Iterator[SiteDifference]:
    """A row for each target and model that both results folders have. Raises InputError when a patient's time or event
    is not the same in both."""
    for target in targets:
        pairs = list(zip(_cases(plain, target), _cases(by_site, target), strict=False))
        aligned = [(first, _aligned(first, other)) for first, other in pairs]
        for model in at_home():
            name = target if model == "self" else model
            both = [(one, other) for one, other in aligned if name in one.risk and name in other.risk]
            if both:
                yield _row(target, model, name, both)


def _cases(results: ResultsFolder, target: str) -> list[TargetPredictions]:
    """The first cross-validation of the target's own models, and its repeats."""
    names = [target if name == "self" else name for name in at_home()]
    folders = [results, *(repeat_folder(results, number) for number in stored_repeats(results))]
    return [found for folder in folders if (found := folder.predictions(target, names)) is not None]


def _aligned(first: TargetPredictions, other: TargetPredictions) -> TargetPredictions:
    said = {
        patient: (time, event) for patient, time, event in zip(other.patients, other.time, other.event, strict=True)
    }
    for patient, time, event in zip(first.patients, first.time, first.event, strict=True):
        if said.get(patient, (time, event)) != (time, event):
            raise InputError(
                f"target {first.own}: patient {patient} has time {time:g} and event {event} in one results folder, "
                f"{said[patient][0]:g} and {said[patient][1]} in the other; sweep both studies on the same labels"
            )
    return on_patients_of(first, other, {})


def _row(
    target: str, model: str, name: str, cases: list[tuple[TargetPredictions, TargetPredictions]]
) -> SiteDifference:
    scores = []
    for plain, by_site in cases:
        known = np.isfinite(plain.risk[name]).any(axis=0) & np.isfinite(by_site.risk[name]).any(axis=0)
        scores.append([of.score(np.where(known, of.risk[name], np.nan)).pooled for of in (plain, by_site)])
    ones, others = [plain for plain, _ in scores], [by_site for _, by_site in scores]
    found = repeated_difference(others, ones)
    lower, upper = difference_interval(found.estimate, found.standard_error, found.events)
    return SiteDifference(
        target=target,
        model=model,
        patients=int(known.sum()),
        events=int(cases[0][0].event[known].sum()),
        c_index_plain=float(np.mean([one.c_index for one in ones])),
        c_index_by_site=float(np.mean([other.c_index for other in others])),
        difference=found.estimate,
        lower=lower,
        upper=upper,
        repeats=found.n_repeats,
    )
