"""A study that opens and may still be wrong is suspected, and one that is right is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cropkt.cohorts import COHORTS, cohort_info
from cropkt.data.faults import Faults
from cropkt.data.patients.folds import Fold, make_splits
from cropkt.data.patients.labels import read_labels
from cropkt.data.study import Cohort, open_study
from cropkt.data.study_yaml.settings import Encoder
from cropkt.data.suspicions import event_suspicions, fold_suspicions, suspicions, time_suspicions


def cohort(time: np.ndarray, event: np.ndarray, folds: tuple[Fold, ...] = ()) -> Cohort:
    index = pd.Index([f"P{number}" for number in range(len(time))], name="patient_id")
    labels = pd.DataFrame({"time": time.astype(float), "event": event, "project": "X"}, index=index)
    return Cohort(cohort_info("acc"), labels, pd.DataFrame(), folds, Encoder("x", 2, ("{slide}.h5",)), "")


def follow_up(patients: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Days and events of a cohort with a third of deaths, as registries have them."""
    random = np.random.default_rng(seed)
    dies, leaves = random.exponential(3000, patients), random.uniform(100, 4000, patients)
    return np.ceil(np.minimum(dies, leaves)), (dies <= leaves).astype(int)


TIMES = {
    "days": (lambda t: t, "days", []),
    "months said": (lambda t: t, "months", []),
    "months taken for days": (lambda t: np.round(t / 30.4375, 2), "days", ["short times", "parts of days"]),
    "whole months taken for days": (lambda t: np.round(t / 30.4375), "days", ["short times"]),
    "years taken for days": (lambda t: t / 365.25, "days", ["short times", "parts of days"]),
    "months made days": (lambda t: np.round(t / 30) * 30, "days", ["coarse times"]),
    "mean months made days": (lambda t: np.round(np.round(t / 30.4375) * 30.4375), "days", ["coarse times"]),
    "years made days": (lambda t: np.ceil(t / 365) * 365, "days", ["coarse times"]),
    "dates": (lambda t: t + 38_000, "days", ["spreadsheet dates"]),
}


@pytest.mark.parametrize("case", TIMES)
def test_times_in_another_unit_are_suspected(case: str) -> None:
    change, unit, expected = TIMES[case]
    times, events = follow_up()
    found = time_suspicions(cohort(change(times), events), unit)
    assert [suspicion.kind for suspicion in found] == expected


def test_days_taken_for_months_are_suspected() -> None:
    times, events = follow_up()
    (found,) = time_suspicions(cohort(times * 30.4375, events), "months")
    assert found.kind == "long times"
    assert "years; are these days?" in found.message


def test_events_the_wrong_way_round_are_suspected() -> None:
    times, events = follow_up()
    assert event_suspicions(cohort(times, events)) == []
    kinds = [suspicion.kind for suspicion in event_suspicions(cohort(times, 1 - events))]
    assert "events inverted" in kinds
    many = event_suspicions(cohort(times, (np.arange(200) % 10 > 0).astype(int)))
    assert "many events" in [suspicion.kind for suspicion in many]


@pytest.mark.parametrize(("events", "suspected"), [(0, False), (1, True), (4, True), (5, False)])
def test_few_events_are_told(events: int, suspected: bool) -> None:
    kinds = [one.kind for one in event_suspicions(cohort(np.arange(100), (np.arange(100) < events).astype(int)))]
    assert ("few events" in kinds) == suspected


def test_folds_without_events_are_told() -> None:
    times, events = np.arange(10), np.array([1] * 5 + [0] * 5)
    names = [f"P{number}" for number in range(10)]
    folds = (Fold(tuple(names[5:]), tuple(names[:5])), Fold(tuple(names[:5]), tuple(names[5:])))
    found = fold_suspicions(cohort(times, events, folds))
    assert [one.message for one in found] == [
        "no patient with an event is in train of fold 0",
        "no patient with an event is in test of fold 1",
    ]


def test_tables_of_no_cohort_are_told(small_study: Callable) -> None:
    study = small_study("acc", "uvm", patients=40)
    assert [one.kind for one in suspicions(open_study(study.folder)) if one.kind == "table of no cohort"] == []
    study.set(cohorts={"acc": ["acc"]})
    for path in study.folder.glob("features/TCGA-UVM/*"):
        path.unlink()
    (found,) = [one for one in suspicions(open_study(study.folder)) if one.kind == "table of no cohort"]
    assert Path(found.where) == study.labels("uvm")
    study.labels("uvm").unlink()
    assert [one for one in suspicions(open_study(study.folder)) if one.kind == "table of no cohort"] == []


@pytest.mark.parametrize("code", COHORTS)
def test_real_cohorts_are_not_suspected_and_are_when_turned_round(real_data: Path, code: str) -> None:
    path = real_data / "labels" / f"{code}_survival.csv"
    labels = read_labels(path, path.name, Faults("real"), leave_out=False).patients()
    times, events = labels["time"].to_numpy(), labels["event"].to_numpy()
    folds = tuple(
        Fold(*(tuple(f"P{labels.index.get_loc(patient)}" for patient in part) for part in (fold.train, fold.test)))
        for fold in make_splits(labels, 5, 0, code)
    )
    real = cohort(times, events, folds)
    found = [*time_suspicions(real, "days"), *event_suspicions(real), *fold_suspicions(real)]
    assert {one.kind for one in found} <= ({"few events"} if events.sum() < 5 else set())
    inverted = [one.kind for one in event_suspicions(cohort(times, 1 - events))]
    assert "events inverted" in inverted
    months = [one.kind for one in time_suspicions(cohort(times / 30.4375, events), "days")]
    assert "short times" in months
