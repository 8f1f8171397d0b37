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
from cropkt.transfer.judgement.names import PROVEN, Verdict

EVENT_CLASSES = [0, 5, 10, 20, 40, np.inf]
HELPS = 0.55
"""A pair is planted as helpful when its true C-index is at least this."""


def discoveries(seeds: Sequence[int], transfer: str, folder: Path, *, baselines: bool = True) -> pd.DataFrame:
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


def false_discovery_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """By seed: pairs that can be judged; those called better and worse than chance and the false ones among them (true
    C-index at most 0.5, at least 0.5); and the false discovery proportions (0 where nothing is called)."""
    better = pairs["verdict"].isin([*PROVEN, Verdict.BETTER_THAN_CHANCE])
    worse = pairs["verdict"] == Verdict.WORSE_THAN_CHANCE
    table = pairs.assign(
        judged=pairs["q_chance"].notna(),
        better=better,
        false_better=better & (pairs["c_index_true"] <= 0.5 + 1e-9),
        worse=worse,
        false_worse=worse & (pairs["c_index_true"] >= 0.5 - 1e-9),
    )
    counts = table.groupby("seed")[["judged", "better", "false_better", "worse", "false_worse"]].sum()
    counts["proportion_better"] = counts["false_better"] / counts["better"].clip(lower=1)
    counts["proportion_worse"] = counts["false_worse"] / counts["worse"].clip(lower=1)
    return counts.reset_index()


def power_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Of the pairs planted as helpful, the share called better than chance, transferring and worth borrowing, by the
    target's number of events."""
    helpful = pairs[pairs["c_index_true"] >= HELPS].copy()
    helpful["events"] = pd.cut(helpful["n_events"], EVENT_CLASSES, right=False)
    helpful["better"] = helpful["verdict"].isin([*PROVEN, Verdict.BETTER_THAN_CHANCE])
    helpful["transfers"] = helpful["verdict"].isin(PROVEN)
    helpful["worth_borrowing"] = helpful["verdict"] == Verdict.WORTH_BORROWING
    shares = {name: (name, "mean") for name in ("better", "transfers", "worth_borrowing")}
    return helpful.groupby("events", observed=True).agg(pairs=("better", "size"), **shares).reset_index()


def calibration_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """By target, over the sources of other cohorts: predicted (recalibrated, mean and extremes over sources) and
    observed survival at the horizon with its standard error, how many errors the mean is away, and the share of
    sources whose probabilities the calibration test refuses at 5 %."""
    known = pairs[(pairs["mode"] == "transfer") & pairs["survival_predicted"].notna()]
    rows = []
    for target, of_target in known.groupby("target", sort=False):
        predicted, p = of_target["survival_predicted"], of_target["calibration_p"].dropna()
        observed = of_target[["survival_observed", "survival_observed_error"]].iloc[0]
        rows.append(
            {
                "target": target,
                "years": of_target["horizon"].iloc[0] / 365,
                "predicted": predicted.mean(),
                "lowest": predicted.min(),
                "highest": predicted.max(),
                "observed": observed.iloc[0],
                "error": observed.iloc[1],
                "errors_away": (predicted.mean() - observed.iloc[0]) / observed.iloc[1] if observed.iloc[1] else np.nan,
                "refused": (p < 0.05).mean() if len(p) else np.nan,
            }
        )
    return pd.DataFrame(rows)
