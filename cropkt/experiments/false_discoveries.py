"""Does false discovery control hold, and at what cost in power? Whole sweeps of simulated studies with known truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE
from cropkt.experiments.config import PairsConfig, RunConfig, StudyConfig, TrackingConfig
from cropkt.experiments.sweep.driver import sweep_transfer
from cropkt.simulation.study import SimulationConfig, simulate_study

EVENT_CLASSES = [0, 5, 10, 20, 40, np.inf]
HELPS = 0.55
"""A pair is planted as helpful when its true C-index is at least this."""


def discoveries(seeds: Sequence[int], transfer: str, folder: Path, *, baselines: bool = False) -> pd.DataFrame:
    """All pairs between cohorts of the demo study under each seed, beside the truth.

    Columns seed, source, target, c_index_pooled, n_events, q_chance, verdict, c_index_true. `transfer` is "none" or
    "groups". Studies and results are kept under `folder` and made once. Raises ConfigError when a sweep fails.
    """
    found = []
    for seed in seeds:
        study, out = folder / f"study-{transfer}-{seed}", folder / f"run-{transfer}-{seed}"
        if not (study / "study.yaml").exists():
            simulate_study(study, SimulationConfig(seed=seed, transfer=transfer))
        config = RunConfig(
            study=StudyConfig(folder=study, out=out),
            pairs=PairsConfig(baselines=baselines),
            tracking=TrackingConfig(wanted=False),
            seed=seed,
        )
        if sweep_transfer(config) != DONE:
            raise ConfigError(f"{out}: not every pair could be measured; see above, and run the same command again")
        pairs = pd.read_parquet(out / "pairs.parquet").query("mode == 'transfer'")
        truth = pd.read_parquet(study / "truth.parquet")[["source", "target", "c_index_true"]]
        columns = ["source", "target", "c_index_pooled", "n_events", "q_chance", "verdict"]
        found.append(pairs[columns].merge(truth, on=["source", "target"]).assign(seed=seed))
    return pd.concat(found, ignore_index=True)


def false_discovery_table(pairs: pd.DataFrame, level: float = 0.05) -> pd.DataFrame:
    """By seed: pairs that can be judged, those called better than chance, the false ones among them (true C-index at
    most 0.5), and the false discovery proportion (0 where nothing is called)."""
    pairs = pairs.assign(
        judged=pairs["q_chance"].notna(),
        called=(pairs["q_chance"] < level) & (pairs["c_index_pooled"] > 0.5),
    )
    pairs["false"] = pairs["called"] & (pairs["c_index_true"] <= 0.5 + 1e-9)
    table = pairs.groupby("seed")[["judged", "called", "false"]].sum()
    table["proportion"] = table["false"] / table["called"].clip(lower=1)
    return table.reset_index()


def power_table(pairs: pd.DataFrame, level: float = 0.05) -> pd.DataFrame:
    """Of the pairs planted as helpful, the share called better than chance, by the target's number of events."""
    helpful = pairs[pairs["c_index_true"] >= HELPS].copy()
    helpful["events"] = pd.cut(helpful["n_events"], EVENT_CLASSES, right=False)
    helpful["called"] = (helpful["q_chance"] < level) & (helpful["c_index_pooled"] > 0.5)
    table = helpful.groupby("events", observed=True).agg(pairs=("called", "size"), power=("called", "mean"))
    return table.reset_index()
