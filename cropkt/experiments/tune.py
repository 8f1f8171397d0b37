"""The one door to Ray Tune: trials that keep nothing, started in order, on workers that outlive them.

A trial writes what it has found to the results folder before it reports, so what is done survives anything; a new run
makes trials of the rest only.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cropkt.experiments.cluster import Workers, spare_the_collector

RETRIES = 1
"""How often a trial whose worker died is tried again at once."""
WORKER_DIED = "its worker died (out of memory?)"

OnEnd = Callable[[Any, Mapping[str, Any], str], None]
"""on_end(point, result, died): a trial has ended with a result or, where its worker died too often, WORKER_DIED."""


class Trial(tune.Trainable):
    """One point after the other, in one process. `job` is the same for all trials, and Ray stores it once."""

    def setup(self, config: dict[str, Any], job: Any) -> None:
        """Ray's constructor: nothing is read yet."""
        spare_the_collector()
        self.job = job
        self.point = config["point"]
        self.start()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next point for this process."""
        self.point = new_config["point"]
        self.begin()
        return True

    def start(self) -> None:
        """A process begins with its first point."""

    def begin(self) -> None:
        """A process that has done a point begins with the next one."""

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: what is finished is on disk, what is unfinished is done again."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


class InOrder(FIFOScheduler):
    """Trials start in the order of their making, on whichever worker is free or new.

    Tune's own first choice is the trial whose worker is still starting. A free worker would take that trial over, the
    start would be broken off and another one begun: with pairs shorter than a start, one worker would do all the work.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """No trial comes before its turn."""


class _Watch(tune.Callback):
    """Tells `on_end` of every trial that ends."""

    def __init__(self, on_end: OnEnd) -> None:
        self._on_end = on_end

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks to go on after a stop. We go on from the results, so there is nothing to keep."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial has ended by itself."""
        self._on_end(trial.config["point"], trial.last_result, "")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial's worker has died more often than it may."""
        self._on_end(trial.config["point"], {}, WORKER_DIED)


def run_trials(
    trainable: type[Trial],
    job: Any,
    points: Sequence[Any] | Searcher,
    workers: Workers,
    scratch: Path,
    *,
    count: int = 1,
    scheduler: InOrder | None = None,
    on_end: OnEnd | None = None,
) -> None:
    """Run a trial for each of `points`, or `count` trials for the points that a searcher gives.

    `scratch` is a new folder for Tune's own files, which every node sees.
    """
    searched = isinstance(points, Searcher)
    tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, job=job), workers.resources),
        param_space=None if searched else {"point": tune.grid_search(list(points))},
        tune_config=tune.TuneConfig(
            search_alg=points if searched else None,
            num_samples=count,
            scheduler=scheduler or InOrder(),
            reuse_actors=True,
            max_concurrent_trials=workers.count,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[_Watch(on_end)] if on_end is not None else None,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    ).fit()
