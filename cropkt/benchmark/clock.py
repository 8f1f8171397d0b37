"""Timing by turns: what is compared is measured in the same minutes, so that a busy machine is busy for all."""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch


def seconds(work: Callable[[], object], device: str) -> float:
    """Processor time of all threads on a CPU, which neighbours disturb least; on a GPU the time until it is done."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def by_turns(works: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, np.ndarray]:
    """Seconds (rounds,) of each of `works`, all of them once per round; a round before the first is not counted."""
    for work in works.values():
        work()
    measured = [{name: seconds(work, device) for name, work in works.items()} for _ in range(rounds)]
    return {name: np.array([found[name] for found in measured]) for name in works}
