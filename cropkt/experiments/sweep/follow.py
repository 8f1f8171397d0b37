"""What happens in the driver as the trials of a sweep end."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cropkt.experiments.progress import Stage
from cropkt.experiments.run import Run
from cropkt.transfer.assemble import update_comparison, write_tables
from cropkt.transfer.scores import remove_scores
from cropkt.transfer.store import store_failure

if TYPE_CHECKING:
    from cropkt.experiments.tracking.sweep import Tracker

TABLES_EVERY = 15.0
"""Seconds between two writings of the tables while pairs come in; they are read from all records each time."""


@ray.remote(num_cpus=0)
def _compare(run: Run, target: str) -> None:
    """Beside the trials: it needs no core of its own, and what is not done here is done when the tables are written."""
    update_comparison(run.results, target, run.cohorts[target].folds, run.fingerprint, run.repeats())


class Follow:
    """As pairs end: progress; comparisons and log of each target that is complete; tables so far.

    No trial is handed out while this works, so a target's comparisons, which take up to a second, are made elsewhere.
    """

    def __init__(self, run: Run, pairs: Sequence[tuple[str, str]], line: Stage, tracker: "Tracker | None") -> None:
        self._open = Counter(target for _, target in pairs)
        self._run = run
        self._line = line
        self._tracker = tracker
        self._named: set[str] = set()
        self._deadly: set[str] = set()
        self._written = time.monotonic()
        self._job = ray.put(run)
        # On the driver's machine: what Ray gives to one that has just gone is waited for as long as the driver lives.
        self._here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._comparing: dict[Any, str] = {}

    def __call__(self, pair: tuple[str, str], result: Mapping[str, Any], died: str) -> None:
        source, target = pair
        if died:
            store_failure(self._run.results, source, target, died)
            self._deadly.add(target)
        left_out = result.get("left_out")
        if left_out and target not in self._named:
            self._named.add(target)
            self._line.say(f"warning: target {target}: slides left out: {', '.join(left_out)}")
        self._line.advance(f"target {target}")
        self._open[target] -= 1
        if self._open[target] == 0:
            if target not in self._deadly:  # else it is tried once more, and must know how many have died over it
                remove_scores(self._run.results, target)
            self._comparing[_compare.options(scheduling_strategy=self._here).remote(self._job, target)] = target
        self._collect(0)

    def finish(self) -> None:
        """Wait for the last comparisons."""
        while self._comparing:
            self._collect(None)

    def _collect(self, timeout: float | None) -> None:
        """What comparisons have ended; waits for one of them, at most `timeout` seconds."""
        if not self._comparing:
            return
        ended, _ = ray.wait(list(self._comparing), timeout=timeout)
        for reference in ended:
            self._complete(self._comparing.pop(reference))

    def _complete(self, target: str) -> None:
        run = self._run
        if time.monotonic() - self._written > TABLES_EVERY:
            write_tables(run.results, run.fingerprint, run.repeats())
            self._written = time.monotonic()
        if self._tracker is not None:
            self._tracker.log_target(target)
