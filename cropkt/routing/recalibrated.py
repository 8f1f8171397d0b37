"""Survival probabilities of a target's routers: their risk recalibrated on patients that they have not seen.

Each fold's router has tested that fold's patients and learnt nothing of them. Together these test patients are all of
the target, and one calibration of their risks is kept beside the routers, for patients to come. New patients are given
the mean risk of all routers, which varies a little less than a single one's: probabilities then differ a little less
than they could. It measures nothing of the target itself; for that, see transfer/judgement/survival.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cropkt.files import read_json, write_json
from cropkt.routing.store import RoutingFolder
from cropkt.survival.calibration import Recalibration, recalibrate
from cropkt.transfer.columns import read_table

METHOD = "roupkt"
"""The method whose routers are stored."""


def calibration_path(router: Path) -> Path:
    """Where the calibration of the stored `router` (.../TARGET/router/fold_K.safetensors) is kept."""
    return router.parent.parent / "calibration.json"


def store_calibration(routing: RoutingFolder, n_folds: int) -> None:
    """Recalibrate the routers of those of the `n_folds` that are fitted, and keep it; nothing without test patients."""
    records = routing.records(n_folds)
    tables = [read_table(routing.predictions_path(fold), ["method", "time", "event", "risk"]) for fold in records]
    known = [table for table in tables if table is not None]
    if not known:
        return
    tested = pd.concat(known).query("method == @METHOD")
    tested = tested[np.isfinite(tested["risk"])]
    if tested.empty:
        return
    found = recalibrate(tested["time"], tested["event"], tested["risk"])
    values = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(found).items()}
    routers = sorted(record.fingerprint for record in records.values())
    write_json(calibration_path(routing.router_path(0)), {"routers": routers, "recalibration": values})


def read_calibration(router: Path, fingerprint: str) -> Recalibration | None:
    """The calibration that the stored `router` with this fingerprint is part of, or None: there is none, it is damaged,
    or routers were fitted since."""
    content = read_json(calibration_path(router)) or {}
    try:
        return _recalibration(content["recalibration"]) if fingerprint in content["routers"] else None
    except (KeyError, TypeError, ValueError):
        return None


def _recalibration(values: Mapping[str, Any]) -> Recalibration:
    curves = ("times", "cumulative", "variance", "drift")
    arrays = {name: np.asarray(values[name], dtype=np.float64) for name in curves}
    if len({array.shape for array in arrays.values()}) != 1:
        raise ValueError("curves of different lengths")
    numbers = {name: float(values[name]) for name in ("centre", "scale", "slope", "slope_variance", "end")}
    fields: dict[str, Any] = {**numbers, **arrays}
    return Recalibration(**fields)
