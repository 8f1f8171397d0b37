"""A target cohort in memory, whose patients' risk is known: it shifts the first feature of every patch."""

import numpy as np
import pandas as pd
import torch

from cropkt.cohorts import cohort_info
from cropkt.data.bags import Bags
from cropkt.data.patients.folds import make_splits
from cropkt.data.study import Cohort, Encoder
from cropkt.transfer.pair import TargetCohort, hold_target

WIDTH = 6


def simulated_target(
    patients: int = 120, *, seed: int = 0, signal: float = 1.5, larger_is_worse: float = 0.0, event_rate: float = 0.6
) -> tuple[TargetCohort, np.ndarray]:
    """The target and its patients' log-risk (B,). `larger_is_worse` ties the number of patches to the risk."""
    random = np.random.default_rng(seed)
    names = [f"p{number:04d}" for number in range(patients)]
    log_risk = random.normal(size=patients)
    time = np.round(1000 * random.exponential(np.exp(-log_risk)))
    event = (random.random(patients) < event_rate).astype(np.int64)
    labels = pd.DataFrame(
        {"time": time, "event": event, "project": "TCGA-ACC"}, index=pd.Index(names, name="patient_id")
    )
    lengths = np.maximum(1, np.round(12 + 4 * larger_is_worse * log_risk + random.normal(size=patients))).astype(int)
    patches = [random.normal(size=(length, WIDTH)) for length in lengths]
    for bag, risk in zip(patches, log_risk, strict=True):
        bag[:, 0] += signal * risk
    features = torch.from_numpy(np.concatenate(patches).astype(np.float32))
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    cohort = Cohort(
        cohort_info("acc"),
        labels,
        pd.DataFrame(columns=["patient_id", "slide", "path", "patches"]),
        make_splits(labels, 5, seed, "acc"),
        Encoder("simulated", WIDTH, ("{slide}.h5",)),
        "fingerprint",
    )
    return hold_target(cohort, Bags(tuple(names), features, offsets)), log_risk
