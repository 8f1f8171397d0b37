"""Searches: one trial after the other within a fold, and a stop changes nothing of what is tried."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from small_studies import small_plan, write_study

from cropkt.data.study import open_study
from cropkt.experiments.config import RunConfig
from cropkt.experiments.progress import stage
from cropkt.experiments.routing.job import RoutingJob, SearchPoint, TrialRecord
from cropkt.experiments.routing.search import (
    FoldSearch,
    FoldwiseHalving,
    FoldwiseSearch,
    Report,
    best_trial,
    default_values,
    lies_in,
)
from cropkt.experiments.routing.space import read_space
from cropkt.experiments.routing.trial import REPORTS
from cropkt.experiments.run import Run
from cropkt.routing.methods import RoutingSettings
from cropkt.training.config import TrainingConfig
from cropkt.transfer.store import ResultsFolder

SPACE = read_space("router")
UNIT = ("router", "acc", 0)


@pytest.fixture
def job(tmp_path: Path) -> RoutingJob:
    study = open_study(write_study(tmp_path / "study", "acc", "uvm").folder)
    results = ResultsFolder(tmp_path / "out", "uni2-h", "abmil")
    run = Run(RunConfig(), study, ("uvm",), ("acc",), (0, 1, 2), small_plan(results.models.path), results)
    return RoutingJob(run, {"acc": ("uvm",)}, RoutingSettings(inner_parts=2))


def score(values: dict[str, Any]) -> float:
    """A made-up inner C-index with its best learning rate at 1e-3."""
    rate = values.get("learning_rate", 1e-4)
    return 0.9 - abs(rate - 1e-3) * 200 - 0.01 * values.get("dropout", 0.25)


def go_on(search: FoldSearch, trials: int) -> list[TrialRecord]:
    """Run trials until there are `trials`, with the halving of the search; every one reports REPORTS times at most."""
    while len(search.trials) < trials:
        values = search.ask()
        stand_in: Any = type("Trial", (), {"trial_id": f"trial {len(search.trials)}"})()
        search.halving.on_trial_add(None, stand_in)
        reports: list[Report] = []
        for step in range(1, REPORTS + 1):
            reports.append(Report(score(values) * (1 - 0.1 / step), loss=1.0, finished=step == REPORTS))
            result = {"training_iteration": step, "score": reports[-1].score}
            if search.halving.on_trial_result(None, stand_in, result) == "STOP":
                break
        search.tell(values, reports, "")
    return search.trials


def tried(trials: list[TrialRecord]) -> list[Any]:
    return [(trial.values, trial.state, trial.score) for trial in trials]


def test_a_search_that_was_stopped_tries_what_it_would_have_tried(job: RoutingJob) -> None:
    whole = tried(go_on(FoldSearch(job, UNIT, SPACE, resume=False), 14))
    go_on(FoldSearch(job, UNIT, SPACE, resume=False), 6)
    resumed = FoldSearch(job, UNIT, SPACE)
    assert len(resumed.trials) == 6
    assert tried(go_on(resumed, 14)) == whole
    assert {state for _, state, _ in whole} == {"complete", "stopped"}
    assert tried(FoldSearch(job, UNIT, SPACE).trials) == whole


def test_a_search_begins_with_the_published_setting_and_learns(job: RoutingJob) -> None:
    trials = go_on(FoldSearch(job, UNIT, SPACE), 25)
    assert trials[0].values == {}
    point = default_values(job, SPACE)
    assert (point["top_k"], point["learning_rate"], point["dropout"]) == (5, 1e-4, 0.25)
    assert lies_in(SPACE, point)
    assert not lies_in(SPACE, {**point, "learning_rate": 1.0})
    assert not lies_in(SPACE, {**point, "top_k": 7})
    other = replace(job, settings=replace(job.settings, training=TrainingConfig(learning_rate=5e-4)))
    assert default_values(other, SPACE)["learning_rate"] == 5e-4
    best = best_trial(trials)
    assert best is not None
    assert best.score is not None
    assert trials[0].score is not None
    assert best.score > trials[0].score + 0.05


def test_other_settings_or_another_space_start_a_new_search(job: RoutingJob, tmp_path: Path) -> None:
    go_on(FoldSearch(job, UNIT, SPACE), 3)
    path = tmp_path / "space.yaml"
    path.write_text("top_k: {choices: [1, 2]}")
    assert FoldSearch(job, UNIT, read_space("router", path)).trials == []
    assert FoldSearch(job, ("router", "acc", 1), SPACE).trials == []


def test_folds_try_points_of_their_own(job: RoutingJob) -> None:
    second = [go_on(FoldSearch(job, ("router", "acc", fold), SPACE), 2)[1].values for fold in range(3)]
    assert len({str(values) for values in second}) == 3


def test_halving_compares_trials_of_one_fold_alone(job: RoutingJob) -> None:
    """A trial of fold 1 that is worse than everything in fold 0, but the first of its own, goes on."""
    searches = [FoldSearch(job, ("router", "acc", fold), SPACE) for fold in range(2)]
    halving = FoldwiseHalving(searches)

    def reports(name: str, fold: int, score: float) -> str:
        config = {"point": SearchPoint("router", "acc", fold, {})}
        trial: Any = type("Trial", (), {"trial_id": name, "config": config})()
        halving.on_trial_add(None, trial)
        return halving.on_trial_result(None, trial, {"training_iteration": 1, "score": score})

    assert [reports(f"{number}", 0, 0.9 + number / 100) for number in range(3)] == ["CONTINUE"] * 3
    assert reports("of fold 1", 1, 0.5) == "CONTINUE"
    assert reports("of fold 0", 0, 0.5) == "STOP"


def test_the_best_is_complete_and_equal_ones_are_told_apart_by_their_loss() -> None:
    trials = [
        TrialRecord(number, {}, state, score, loss, [], "", 1.0)
        for number, (state, score, loss) in enumerate(
            [("stopped", 0.99, 0.1), ("complete", 0.7, 0.5), ("complete", 0.7, 0.4), ("failed", None, None)]
        )
    ]
    assert best_trial(trials) is trials[2]
    assert best_trial(trials[:1]) is None


def test_folds_are_searched_beside_each_other_one_trial_at_a_time(job: RoutingJob) -> None:
    searches = [FoldSearch(job, ("router", "acc", fold), SPACE) for fold in range(2)]
    with stage("search", 4, "trials") as line:
        tune_side = FoldwiseSearch(searches, 2, float("inf"), line)
        first, second = tune_side.suggest("a"), tune_side.suggest("b")
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        assert (first["point"].fold, second["point"].fold) == (0, 1)
        assert tune_side.suggest("c") is None, "both folds are at work"
        done = {"score": 0.6, "loss": 1.0, "finished": True, "failed": "", "training_iteration": 1}
        tune_side.on_trial_complete("b", done)
        third = tune_side.suggest("c")
        assert isinstance(third, dict)
        assert third["point"].fold == 1
        assert third["point"].values != {}
        tune_side.on_trial_complete("a", {**done, "failed": "TrainingError: the loss is nan"})
        tune_side.on_trial_complete("c", error=True)
        assert [trial.state for trial in searches[0].trials] == ["failed"]
        assert [trial.state for trial in searches[1].trials] == ["complete", "failed"]
        assert "worker died" in searches[1].trials[1].failed
        fourth = tune_side.suggest("d")
        assert isinstance(fourth, dict)
        tune_side.on_trial_complete("d", done)
        assert tune_side.suggest("e") == Searcher.FINISHED


def test_a_trial_whose_worker_died_and_was_tried_again_counts_as_what_it_became(job: RoutingJob) -> None:
    search = FoldSearch(job, UNIT, SPACE)
    with stage("search", 1, "trials") as line:
        tune_side = FoldwiseSearch([search], 1, float("inf"), line)
        tune_side.suggest("a")
        for step, score_then in [(1, 0.5), (2, 0.51), (1, 0.5), (2, 0.52), (3, 0.6)]:
            report = {"score": score_then, "loss": 1.0, "finished": False, "failed": "", "training_iteration": step}
            tune_side.on_trial_result("a", report)
        last = {"score": 0.7, "loss": 1.0, "finished": True, "failed": "", "training_iteration": 4}
        tune_side.on_trial_complete("a", last)
    (trial,) = search.trials
    assert (trial.state, trial.score, trial.reports) == ("complete", 0.7, [0.5, 0.52, 0.6, 0.7])


def test_a_failed_trial_is_no_measure_for_others(job: RoutingJob) -> None:
    search = FoldSearch(job, UNIT, SPACE)
    halving = FoldwiseHalving([search])
    trial: Any = type("Trial", (), {"trial_id": "a", "config": {"point": SearchPoint("router", "acc", 0, {})}})()
    halving.on_trial_add(None, trial)
    halving.on_trial_complete(None, trial, {"failed": "TrainingError", "score": 0.0, "training_iteration": 1})
    assert all(not recorded for bracket in search.halving._brackets for _, recorded in bracket._rungs)


def test_folds_that_are_behind_come_first(job: RoutingJob) -> None:
    searches = [FoldSearch(job, ("router", "acc", fold), SPACE) for fold in range(2)]
    go_on(searches[0], 3)
    with stage("search", 4, "trials") as line:
        given = FoldwiseSearch(searches, 5, float("inf"), line).suggest("a")
    assert isinstance(given, dict)
    assert given["point"].fold == 1


def test_after_the_deadline_no_trial_begins(job: RoutingJob) -> None:
    with stage("search", 4, "trials") as line:
        assert FoldwiseSearch([FoldSearch(job, UNIT, SPACE)], 2, 0.0, line).suggest("a") == Searcher.FINISHED


@pytest.mark.parametrize(
    "broken",
    [
        lambda _: [],
        lambda stored: {**stored, "trials": 7},
        lambda stored: {**stored, "trials": [[trial] for trial in stored["trials"]]},
        lambda stored: {**stored, "trials": stored["trials"][1:]},
        lambda stored: {**stored, "trials": [{**trial, "state": "done"} for trial in stored["trials"]]},
        lambda stored: {**stored, "trials": [{**trial, "reports": None} for trial in stored["trials"]]},
        lambda stored: {**stored, "trials": [{**trial, "score": None} for trial in stored["trials"]]},
        lambda stored: {**stored, "trials": [{"number": trial["number"]} for trial in stored["trials"]]},
    ],
)
def test_a_damaged_search_is_made_again_and_finds_the_same(job: RoutingJob, broken: Callable[[Any], Any]) -> None:
    undisturbed = go_on(FoldSearch(job, UNIT, SPACE), 3)
    path = job.folder("acc").search_path("router", 0)
    path.write_text(json.dumps(broken(json.loads(path.read_text()))))
    search = FoldSearch(job, UNIT, SPACE)
    assert search.trials == []
    found = go_on(search, 3)
    assert [replace(trial, seconds=0) for trial in found] == [replace(trial, seconds=0) for trial in undisturbed]
