"""Do verdicts keep their promises, and what do they find? Whole matrices of simulated pairs whose truth is known.

A target's patients have a score z ~ N(0, 1), an event time ~ Exp(rate exp(z)) and uniform censoring, which leaves the
wanted share of events. Whatever ranks them is `correlation` x z plus noise of its own, so which of two is truly better
is known: the one with the higher correlation. All sources of a target share the noise of their untrained start, as real
ones do. Scores, comparisons and verdicts are those of the sweep.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cropkt.seeds import generator
from cropkt.survival.concordance import p_value_against
from cropkt.transfer.judgement.names import PROVEN, Verdict
from cropkt.transfer.judgement.verdicts import judge
from cropkt.transfer.significance import TargetPredictions, compare

MODELS = FOLDS = 5
EVENTS = (3, 5, 7, 10, 12, 15, 17, 20, 25, 30, 35, 40, 50, 60, 80, 100)
"""Of the targets of a matrix, on average, among three times as many patients, at least 40."""
SOURCES = 15
EVENT_CLASSES = [0, 5, 10, 20, 40, np.inf]
SHARED, OWN_NOISE, MODEL_NOISE = 0.5, 0.7, 0.5
"""Weights of a source's noise: that of the common start, of its own training, of each of its five models."""


@dataclass(frozen=True)
class Design:
    """Correlations with z. Every other target has `sources` of one strength, the others of the other."""

    name: str
    sources: tuple[float, float]
    start: float = 0.0
    own: float = 0.3
    cox: float = 0.3


DESIGNS = (
    Design("nothing transfers", (0.0, 0.0)),
    Design("nothing transfers, the start is not neutral", (0.3, 0.3), start=0.3),
    Design("half of the targets null", (0.0, 0.4)),
    Design("half null, half the wrong way", (0.0, -0.4)),
    Design("half as good as at home, half better", (0.3, 0.7)),
)


def simulated_pairs(design: Design, studies: int, seed: int) -> pd.DataFrame:
    """A row per pair of `studies` matrices, judged, with `events` of the target and the correlations of the truth."""
    random = generator(seed, "verdicts", design.name)
    return pd.concat([_study(design, random).assign(study=number) for number in range(studies)], ignore_index=True)


def false_claims(pairs: pd.DataFrame) -> dict[str, float]:
    """By claim: the mean over studies of the share of it that is false, 0 where nothing is claimed."""
    called = pairs["verdict"]
    better = called.isin([*PROVEN, Verdict.BETTER_THAN_CHANCE])
    claims = {
        "better than chance": (better, pairs["truth"] > 0),
        "worse than chance": (called == Verdict.WORSE_THAN_CHANCE, pairs["truth"] < 0),
        "transfers": (called.isin(PROVEN), pairs["truth"] > pairs["truth_start"]),
        "worth borrowing": (called == Verdict.WORTH_BORROWING, pairs["truth"] > pairs["truth_home"]),
    }
    found = {}
    for name, (claimed, true) in claims.items():
        wrong = (claimed & ~true).astype(int).groupby(pairs["study"]).sum()
        found[name] = float((wrong / claimed.astype(int).groupby(pairs["study"]).sum().clip(lower=1)).mean())
    return found


def false_claim_table(studies: int, seed: int, designs: Sequence[Design] = DESIGNS) -> pd.DataFrame:
    """A row a design: its false discovery rate of each claim."""
    rows = [{"design": design.name, **false_claims(simulated_pairs(design, studies, seed))} for design in designs]
    return pd.DataFrame(rows)


def verdict_power_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """By the target's events: pairs that truly transfer and are worth borrowing, and the share that is called so."""
    true = pairs[(pairs["truth"] > pairs["truth_start"]) & (pairs["truth"] > pairs["truth_home"])].copy()
    true["events"] = pd.cut(true["n_events"], EVENT_CLASSES, right=False)
    true["transfers"] = true["verdict"].isin(PROVEN)
    true["worth_borrowing"] = true["verdict"] == Verdict.WORTH_BORROWING
    grouped = true.groupby("events", observed=True)
    return grouped.agg(
        pairs=("transfers", "size"), **{n: (n, "mean") for n in ("transfers", "worth_borrowing")}
    ).reset_index()


def _study(design: Design, random: np.random.Generator) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for number, events in enumerate(EVENTS):
        strength = design.sources[number % 2]
        found = _target(f"t{number}", events, design, strength, random)
        compared: dict[str, dict[str, float]] = {}
        for one in compare(found):
            differences = {f"difference_{one.against}": one.difference, f"p_{one.against}": one.p_value}
            compared.setdefault(one.source, {}).update(differences)
        for source, differences in compared.items():
            pooled = found.score(found.risk[source], within_folds=False).pooled
            truth = {"truth": strength, "truth_start": design.start, "truth_home": max(design.own, design.cox)}
            identity = {"source": source, "target": found.own, "encoder": "", "architecture": "", "mode": "transfer"}
            measured = {
                "c_index_pooled": pooled.c_index,
                "interval_lower": np.nan,
                "p_chance": p_value_against(pooled.c_index, pooled.standard_error, pooled.events),
                "n_events": int(found.event.sum()),
                "n_comparable": pooled.comparable,
                "status": "ok",
            }
            rows.append({**identity, **measured, **differences, **truth})
    return judge(pd.DataFrame(rows))


def _target(code: str, events: int, design: Design, strength: float, random: np.random.Generator) -> TargetPredictions:
    patients = max(40, 3 * events)
    z = random.normal(size=patients)
    dies = random.exponential(np.exp(-z))
    leaves = random.uniform(0, 2 * np.quantile(dies, min(0.95, 1.6 * events / patients)), size=patients)
    time, event = np.minimum(dies, leaves), (dies <= leaves).astype(np.int64)
    tested_in = np.empty(patients, dtype=np.int64)
    tested_in[np.lexsort((random.random(patients), -event))] = np.arange(patients) % FOLDS
    shared = random.normal(size=patients)

    def ranking(correlation: float, noise: np.ndarray) -> np.ndarray:
        return correlation * z + np.sqrt(1 - correlation**2) * noise

    def folds(correlation: float) -> np.ndarray:
        risk = np.full((FOLDS, patients), np.nan)
        risk[tested_in, np.arange(patients)] = ranking(correlation, random.normal(size=patients))
        return risk

    risk = {"null": ranking(design.start, shared)[None], "mean_cox": folds(design.cox), code: folds(design.own)}
    weight = 1 / np.sqrt(SHARED**2 + OWN_NOISE**2 + MODEL_NOISE**2)
    for number in range(SOURCES):
        own = random.normal(size=patients)
        noise = SHARED * shared + OWN_NOISE * own + MODEL_NOISE * random.normal(size=(MODELS, patients))
        risk[f"s{number}"] = ranking(strength, weight * noise)
    return TargetPredictions(code, tuple(f"p{n}" for n in range(patients)), time, event, tested_in, risk)
