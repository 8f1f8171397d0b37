"""Ray Tune with Optuna's sampler and successive halving: one search for each outer fold of a target.

Within a fold trials come one after the other, so that what is tried depends on the seed and on what was found, not on
which worker was quicker; folds, and targets, are searched beside each other. Every trial that ends is on disk. A search
that goes on is told its stored trials again, in order: it tries next what it would have tried without the stop.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from cropkt.experiments.cluster import Cluster
from cropkt.experiments.progress import Stage, stage
from cropkt.experiments.routing.config import SearchConfig
from cropkt.experiments.routing.job import RoutingJob, SearchPoint, TrialRecord, Unit
from cropkt.experiments.routing.space import Dimension, SearchSpace
from cropkt.experiments.routing.trial import REPORTS, SearchTrial
from cropkt.experiments.tune import WORKER_DIED, InOrder, run_trials
from cropkt.files import digest, read_json, write_json
from cropkt.routing.methods import recipe_of
from cropkt.seeds import named_seed

HALVING = 2
"""At each report the worse half of what got so far is stopped."""
RANDOM_FIRST = 5
"""Points drawn at random before Optuna's sampler (TPE) learns from them."""

STATES = {"failed": TrialState.FAIL, "stopped": TrialState.PRUNED, "complete": TrialState.COMPLETE}


@dataclass(frozen=True)
class Report:
    """How a point does after some epochs; finished: there are no more."""

    score: float
    loss: float
    finished: bool


class FoldSearch:
    """The search for one outer fold: which point comes next, and what came of each. `trials` is what is stored."""

    def __init__(self, job: RoutingJob, unit: Unit, space: SearchSpace, *, resume: bool = True) -> None:
        kind, target, fold = unit
        self._default = default_values(job, space)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.unit = unit
        self.trials: list[TrialRecord] = []
        self.running = False
        self.halving = ASHAScheduler(metric="score", mode="max", max_t=REPORTS, reduction_factor=HALVING)
        self._path = job.folder(target).search_path(kind, fold)
        self._fingerprint = search_fingerprint(job, unit, space)
        self._space = space
        seed = named_seed(job.run.plan.seed, "search", kind, target, fold) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_FIRST)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: optuna.Trial | None = None
        self._started = 0.0
        for trial in stored_trials(self._path, self._fingerprint) if resume else ():
            self._replay(trial)

    def ask(self) -> dict[str, Any]:
        """The values of the next point; none for the first one, which has the default settings."""
        self.running, self._started = True, time.time()
        if not self.trials:
            return {}
        self._asked = self._study.ask(self._space.distributions())
        return dict(self._asked.params)

    def tell(self, values: Mapping[str, Any], reports: Sequence[Report], failed: str) -> None:
        """What came of the point that was asked for last."""
        last = reports[-1] if reports else None
        trial = TrialRecord(
            number=len(self.trials),
            values=dict(values),
            state="failed" if failed else "complete" if last and last.finished else "stopped",
            score=last.score if last else None,
            loss=last.loss if last else None,
            reports=[report.score for report in reports],
            failed=failed,
            seconds=time.time() - self._started,
        )
        self._learn(trial)
        self.trials.append(trial)
        self.running = False
        write_json(self._path, {"fingerprint": self._fingerprint, "trials": [vars(trial) for trial in self.trials]})

    def _replay(self, trial: TrialRecord) -> None:
        """Bring sampler and halving to where they were after this stored trial."""
        self.ask()
        stand_in = SimpleNamespace(trial_id=f"stored {trial.number}")
        self.halving.on_trial_add(None, stand_in)
        for number, score in enumerate(trial.reports):
            self.halving.on_trial_result(None, stand_in, {"training_iteration": number + 1, "score": score})
        self._learn(trial)
        self.trials.append(trial)
        self.running = False

    def _learn(self, trial: TrialRecord) -> None:
        state = STATES[trial.state]
        value = trial.score if state is TrialState.COMPLETE else None
        if self._asked is not None:
            for number, score in enumerate(trial.reports):
                self._asked.report(score, number)
            self._study.tell(self._asked, value, state)
            self._asked = None
        elif state is TrialState.COMPLETE and lies_in(self._space, self._default):
            # The default point was not drawn by the sampler; it learns from it where the space has room for it.
            distributions = self._space.distributions()
            self._study.add_trial(optuna.create_trial(params=self._default, distributions=distributions, value=value))


def stored_trials(path: Path, fingerprint: str) -> list[TrialRecord]:
    """The trials that a search has stored, in order; none where the file is damaged or of another fingerprint."""
    stored = read_json(path) or {}
    trials = stored.get("trials")
    if stored.get("fingerprint") != fingerprint or not isinstance(trials, list):
        return []
    whole = all(_is_trial(trial, number) for number, trial in enumerate(trials))
    return [TrialRecord(**trial) for trial in trials] if whole else []


def _is_trial(trial: Any, number: int) -> bool:
    """Whether `trial` is what `FoldSearch.tell` stores as the trial of this number."""
    names = {item.name for item in fields(TrialRecord)}
    if not isinstance(trial, dict) or set(trial) != names or trial["number"] != number:
        return False
    scores = [*trial["reports"], trial["score"], trial["loss"]] if isinstance(trial["reports"], list) else [""]
    return (
        isinstance(trial["values"], dict)
        and trial["state"] in STATES
        and isinstance(trial["failed"], str)
        and all(isinstance(score, int | float | None) for score in scores)
        and (trial["state"] != "complete" or None not in scores)
    )


def search_fingerprint(job: RoutingJob, unit: Unit, space: SearchSpace) -> str:
    """Changes whenever anything changes that decides what the trials of a search find, but their number."""
    kind, target, fold = unit
    return digest(job.fingerprint(target), kind, fold, job.run.plan.seed, repr(space))


def default_values(job: RoutingJob, space: SearchSpace) -> dict[str, Any]:
    """What the settings that `space` names are in a search's first trial."""
    recipe = recipe_of(space.kind, {}, job.settings, job.run.plan)
    return {
        name: getattr(recipe.training if hasattr(recipe.training, name) else recipe.settings, name)
        for name in space.dimensions
    }


def lies_in(space: SearchSpace, point: Mapping[str, Any]) -> bool:
    """Is `point` one that `space` could give?"""

    def inside(name: str, dimension: Dimension) -> bool:
        if dimension.choices:
            return point[name] in dimension.choices
        assert dimension.low is not None
        assert dimension.high is not None
        return bool(dimension.low <= point[name] <= dimension.high)

    return all(inside(name, dimension) for name, dimension in space.dimensions.items())


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The complete trial with the best score; of equal ones that with the smallest loss, then the first."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return max(complete, key=_goodness, default=None)


def _goodness(trial: TrialRecord) -> tuple[float, float]:
    assert trial.score is not None
    assert trial.loss is not None
    return trial.score, -trial.loss


@dataclass
class _AtWork:
    """A point that a worker has; its reports by step."""

    search: FoldSearch
    point: SearchPoint
    reports: dict[int, Report] = field(default_factory=dict)


class FoldwiseSearch(Searcher):
    """All searches of a run for Tune: gives points of folds that are not at work, until each has its `trials`.

    No point is given after `deadline` (time.time()), and what is at work then is let end.
    """

    def __init__(self, searches: Sequence[FoldSearch], trials: int, deadline: float, line: Stage) -> None:
        super().__init__(metric="score", mode="max")
        self._searches = {search.unit: search for search in searches}
        self._trials = trials
        self._deadline = deadline
        self._line = line
        self._at_work: dict[str, _AtWork] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "FoldwiseSearch":
        """Tune works with a copy of what it is given; the searches are ours to read afterwards."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it to go on after a stop; we go on from what is on disk."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial's configuration; None when all unfinished folds are at work."""
        unfinished = [search for search in self._searches.values() if len(search.trials) < self._trials]
        if not unfinished or time.time() > self._deadline:
            return Searcher.FINISHED
        idle = [search for search in unfinished if not search.running]
        if not idle:
            return None
        # Target by target, so that a worker keeps one resident; within it the search that is furthest behind.
        search = min((one for one in idle if one.unit[1] == idle[0].unit[1]), key=lambda one: len(one.trials))
        point = SearchPoint(*search.unit, values=search.ask())
        self._at_work[trial_id] = _AtWork(search, point)
        return {"point": point}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial has reported."""
        if trial_id in self._at_work and not result.get("failed"):
            reports = self._at_work[trial_id].reports
            step = result["training_iteration"]
            if step == 1:  # its worker may have died, and the trial begun again
                reports.clear()
            reports[step] = Report(result["score"], result["loss"], result["finished"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, or its worker has died more often than it may."""
        if trial_id not in self._at_work:
            return
        if result and not error:
            self.on_trial_result(trial_id, result)
        ended = self._at_work.pop(trial_id)
        reports = [ended.reports[step] for step in sorted(ended.reports)]
        ended.search.tell(ended.point.values, reports, WORKER_DIED if error else (result or {}).get("failed", ""))
        self._line.advance(f"{ended.point.target}, fold {ended.point.fold}")

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for it; what there is to keep is on disk already."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class FoldwiseHalving(InOrder):
    """Successive halving within each search: trials of other folds have other patients, and are no measure."""

    def __init__(self, searches: Sequence[FoldSearch]) -> None:
        super().__init__()
        self._of = {search.unit: search.halving for search in searches}

    def _halving(self, trial: Any) -> Any:
        point: SearchPoint = trial.config["point"]
        return self._of[point.unit]

    def __deepcopy__(self, memo: dict[int, Any]) -> "FoldwiseHalving":
        """As FoldwiseSearch."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """As FoldwiseSearch."""
        return {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial enters."""
        self._halving(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Go on, or stop."""
        return self._halving(trial).on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial has ended by itself."""
        if not result.get("failed"):  # it scored nothing that others could be measured by
            self._halving(trial).on_trial_complete(tune_controller, trial, result)


def run_searches(
    job: RoutingJob,
    units: Sequence[Unit],
    spaces: Mapping[str, SearchSpace],
    wanted: SearchConfig,
    cluster: Cluster,
    scratch: Path,
) -> dict[Unit, FoldSearch]:
    """Bring the search of every unit to its number of trials, or as far as it gets before the timeout."""
    searches = [FoldSearch(job, unit, spaces[unit[0]], resume=job.run.config.resume) for unit in units]
    missing = sum(max(0, wanted.trials - len(search.trials)) for search in searches)
    if missing:
        workers = cluster.workers(min(missing, len(units)))
        deadline = time.time() + wanted.timeout if wanted.timeout else float("inf")
        with stage("search", missing, "trials") as line:
            run_trials(
                SearchTrial,
                job,
                FoldwiseSearch(searches, wanted.trials, deadline, line),
                workers,
                scratch,
                count=missing,
                scheduler=FoldwiseHalving(searches),
            )
    return {search.unit: search for search in searches}
