"""Survival that references tell for patients they were not learnt from, beside Kaplan and Meier: `held_out.py RESULTS`.

Half of a cohort's patients stand for the library's, the other half for the hospital's. Only stored risks are read.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cropkt.portable.reference import learn_reference
from cropkt.report.read import choose_results
from cropkt.survival.calibration import Recalibration
from cropkt.survival.probabilities import kaplan_meier

YEARS = 5
MONTHS = 365 / 12 * np.arange(1, 12 * YEARS + 1)
FEWEST_EVENTS = 10
"""Of a cohort, so that a half has about as many as a survival curve needs."""
FEWEST_AT_RISK = 5
GROUPS = ("all", "lowest third", "middle third", "highest third")


@dataclass(frozen=True)
class Patients:
    """N patients: days, events 0/1, and risk (F, N) by model, NaN where the model has seen the patient."""

    time: np.ndarray
    event: np.ndarray
    risk: np.ndarray

    def take(self, places: np.ndarray) -> "Patients":
        """Those at `places`."""
        return Patients(self.time[places], self.event[places], self.risk[:, places])

    def halves(self, *seed: int) -> tuple["Patients", "Patients"]:
        """Two random halves."""
        one, other = np.array_split(np.random.default_rng(seed).permutation(len(self.time)), 2)
        return self.take(one), self.take(other)


def mean_survival(model: Recalibration, risk: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) mean survival told for patients with `risk` (B,), and its standard error: that of slope and curve."""
    z = ((risk - model.centre) / model.scale)[:, None]
    hazard, variance, drift = (model._at(values, times) for values in (model.cumulative, model.variance, model.drift))
    of_patient = np.exp(model.slope * z)
    fall = of_patient * np.exp(-of_patient * hazard)  # -dS/dH
    by_curve, by_slope = fall.mean(axis=0) ** 2 * variance, (fall * (drift - z * hazard)).mean(axis=0) ** 2
    return model.survival(risk, times).mean(axis=0), np.sqrt(by_curve + by_slope * model.slope_variance)


def estimate_error(told: np.ndarray, time: np.ndarray, days: np.ndarray) -> np.ndarray:
    """(T,) standard error that Kaplan and Meier's estimate has at `days` (T,) where `told` (T,) is right.

    Greenwood's formula with the hazards told and the patients at risk (N,). The observed one is 0 before the first
    death, as if it were certain that nobody dies.
    """
    at_risk = np.maximum((time[:, None] >= days).sum(axis=0), 1)
    return told * np.sqrt(np.cumsum(np.diff(-np.log(np.maximum(told, 1e-12)), prepend=0.0) / at_risk))


def cells(learnt: Patients, held: Patients) -> pd.DataFrame:
    """Learnt from some patients, told for others. A row per group and year with FEWEST_AT_RISK or more left.

    Columns group, year, told, observed, error (of their difference) and told_error (the reference's part of it).
    """
    found = learn_reference(learnt.time, learnt.event, learnt.risk)
    standardised = found.standardised(held.risk)
    if found.calibration is None:
        return pd.DataFrame()
    order = np.argsort(standardised)[: int(np.isfinite(standardised).sum())]
    rows = []
    for group, part in zip(GROUPS, (order, *np.array_split(order, 3)), strict=True):
        time, event = held.time[part], held.event[part]
        told, told_error = mean_survival(found.calibration, standardised[part], MONTHS)
        observed, _ = kaplan_meier(time, event, MONTHS)
        error = np.hypot(told_error, estimate_error(told, time, MONTHS))
        at_risk = (time[:, None] >= MONTHS).sum(axis=0)
        for year in range(1, YEARS + 1):
            month = 12 * year - 1
            if at_risk[month] >= FEWEST_AT_RISK and np.isfinite(told[month]):
                rows.append((group, year, told[month], observed[month], error[month], told_error[month]))
    return pd.DataFrame(rows, columns=["group", "year", "told", "observed", "error", "told_error"])


def of_run(out: Path, splits: int, seed: int = 0) -> pd.DataFrame:
    """The cells of every source in every cohort with FEWEST_EVENTS or more, for `splits` random halves."""
    results, found = choose_results(out, None, None), []
    codes = list(results.models.cohorts())
    for cohort in codes:
        tables = results.prediction_tables(cohort, codes, ["patient_id", "source_fold", "risk", "time", "event"])
        for source, table in tables.items():
            patients = table.drop_duplicates("patient_id").set_index("patient_id")
            if patients["event"].sum() < FEWEST_EVENTS:
                continue
            risk = table.pivot(index="source_fold", columns="patient_id", values="risk")[patients.index]
            known = Patients(patients["time"].to_numpy(float), patients["event"].to_numpy(int), risk.to_numpy(float))
            for split in range(splits):  # the same halves for every source
                told = cells(*known.halves(seed, split))
                found.append(told.assign(cohort=cohort, source=source, split=split))
    return pd.concat(found, ignore_index=True)


def compared(found: pd.DataFrame) -> pd.DataFrame:
    """With where (at home or abroad), difference (told less observed), its size, and within (two errors)."""
    difference = found["told"] - found["observed"]
    return found.assign(
        where=np.where(found["cohort"] == found["source"], "at home", "abroad"),
        within=difference.abs() < 2 * found["error"],
        difference=difference,
        size=difference.abs(),
    )


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """By group, at home and abroad: cells, share within 2 errors, mean difference, its mean size and mean error."""
    columns = {"cells": ("within", "size"), "within": ("within", "mean")}
    columns |= {"difference": ("difference", "mean"), "size": ("size", "mean"), "error": ("error", "mean")}
    return compared(found).groupby(["where", "group"]).agg(**columns)


def by_cohort(found: pd.DataFrame) -> pd.DataFrame:
    """A row per cohort: share of cells within 2 errors, of all patients and of thirds by risk, at home and abroad."""
    found = compared(found)
    found["group"] = np.where(found["group"] == "all", "all", "thirds")
    return found.pivot_table("within", "cohort", ["where", "group"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--to", type=Path, help="write all cells to this CSV")
    given = parser.parse_args()
    of_all = of_run(given.results, given.splits)
    print(summary(of_all).round(3).to_string())
    print(by_cohort(of_all).round(2).to_string())
    if given.to:
        of_all.to_csv(given.to, index=False)
