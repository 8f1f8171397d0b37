"""What the driver does as trials end: progress; comparisons and log of each target that is complete; tables so far."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ray.tune import Callback

from cropkt.experiments.progress import Stage
from cropkt.experiments.sweep.trial import SweepJob
from cropkt.experiments.tracking import Tracker
from cropkt.transfer.assemble import update_comparison, write_tables
from cropkt.transfer.store import store_failure

WORKER_DIED = "its worker died (out of memory?)"
TABLES_EVERY = 15.0
"""Seconds between two writings of the tables while pairs come in; they are read from all records each time."""


class Watch(Callback):
    """Follows the trials of `pairs`."""

    def __init__(self, pairs: Sequence[tuple[str, str]], job: SweepJob, line: Stage, tracker: Tracker | None) -> None:
        self._open = Counter(target for _, target in pairs)
        self._job = job
        self._line = line
        self._tracker = tracker
        self._named: set[str] = set()
        self._written = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks to go on after a stop. We go on from the results, so there is nothing to keep."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial has ended by itself."""
        _, target = trial.config["pair"]
        left_out = trial.last_result.get("left_out")
        if left_out and target not in self._named:
            self._named.add(target)
            self._line.say(f"warning: target {target}: slides left out: {', '.join(left_out)}")
        self._ended(target)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial's worker has died more often than it may."""
        source, target = trial.config["pair"]
        store_failure(self._job.results, source, target, WORKER_DIED)
        self._ended(target)

    def _ended(self, target: str) -> None:
        self._line.advance(f"target {target}")
        self._open[target] -= 1
        if self._open[target] == 0:
            update_comparison(self._job.results, target, self._job.cohorts[target].folds, self._job.fingerprint)
            if time.monotonic() - self._written > TABLES_EVERY:
                write_tables(self._job.results, self._job.fingerprint)
                self._written = time.monotonic()
            if self._tracker is not None:
                self._tracker.log_target(target)
