"""Methods compared on the same draws: paired over targets, by number of training patients, and where own models win.

A target's draws share its patients, so they are averaged first; targets are the independent cases. Targets of one study
share their lenders, so intervals are, if anything, short.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cropkt.rivals import ALL
from cropkt.seeds import generator
from cropkt.survival.paired import mean_with_interval

BOOTSTRAPS = 999
BEST_OWN = "best own"
"""The best of the own methods, by mean over all targets of the size: a rival that is chosen with hindsight."""


def sizes_in_order(sizes: Iterable[str]) -> list[str]:
    """Numbers rising, ALL last."""
    return sorted(set(sizes), key=lambda size: (size == ALL, int(size) if size != ALL else 0))


def by_target(curve: pd.DataFrame, measure: str = "c_index") -> pd.DataFrame:
    """Rows (study, patients, target), a column for each method: mean of `measure` over draws. Rows without every
    method are left out: methods are compared on the same draws only.

    `curve` has the columns of rows.CURVE, and `study`.
    """
    keys = ["study", "patients", "target"]
    draws = curve.pivot_table(index=[*keys, "draw"], columns="method", values=measure).dropna()
    return draws.groupby(level=keys).mean()


def method_means(curve: pd.DataFrame, measure: str = "c_index") -> pd.DataFrame:
    """One row per size and method: patients, method, mean over targets, lower, upper (95 %), targets."""
    wide = by_target(curve, measure)
    rows = []
    for size in sizes_in_order(wide.index.get_level_values("patients")):
        of_size = wide.xs(size, level="patients")
        rows += [
            {"patients": size, "method": method, **mean_with_interval(of_size[method].to_numpy())}
            for method in map(str, wide)
        ]
    return pd.DataFrame(rows)


def differences(
    curve: pd.DataFrame, own: Sequence[str], *, of: str = "borrowed", measure: str = "c_index"
) -> pd.DataFrame:
    """One row per size and rival: patients, against, mean of `of` minus the rival over targets, lower, upper, targets,
    ahead (share of targets). The best of the methods `own` is a rival too."""
    wide = by_target(curve, measure)
    rows = []
    for size in sizes_in_order(wide.index.get_level_values("patients")):
        of_size = wide.xs(size, level="patients")
        rivals = {name: of_size[name] for name in map(str, wide) if name != of}
        if there := [name for name in own if name in wide]:
            rivals[BEST_OWN] = of_size[max(there, key=lambda name: of_size[name].mean())]
        for name, values in rivals.items():
            gain = (of_size[of] - values).to_numpy()
            ahead = float((gain > 0).mean())
            rows.append({"patients": size, "against": name, **mean_with_interval(gain), "ahead": ahead})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Crossing:
    """Training events from which the own model is as good as borrowing, with a 95 % interval.

    NaN: the line does not cross. slope: change of the gain per doubling of events. fewest, most: events seen.
    """

    events: float
    lower: float
    upper: float
    slope: float
    fewest: float
    most: float

    def sentence(self) -> str:
        """For people: below so many events, borrow."""
        seen = f"between {self.fewest:.0f} and {self.most:.0f} training events"
        if not np.isfinite(self.events):
            return f"The gain of borrowing does not fall with events {seen}: no crossing was seen."
        if self.events > self.most:
            return f"Borrowing is ahead {seen}; the line would cross at {self.events:.0f}, beyond what was seen."
        if self.events < self.fewest:
            return f"Own models are ahead {seen}."
        upper = f"{self.upper:.0f}" if self.upper <= self.most else f"more than {self.most:.0f}"
        return f"Below about {self.events:.0f} training events ({self.lower:.0f} to {upper}), borrow."


def crossing(curve: pd.DataFrame, against: str, *, of: str = "borrowed", measure: str = "c_index") -> Crossing:
    """Where the line of the gain over log events meets 0; the interval resamples targets.

    One point per (study, target, size): mean gain and mean training events over draws.
    """
    gain = by_target(curve, measure)
    keys = ["study", "patients", "target"]
    events = curve.groupby(keys)["train_events"].mean().reindex(gain.index).clip(lower=0.5)
    points = pd.DataFrame({"gain": gain[of] - gain[against], "log_events": np.log2(events)}).reset_index()
    found = _zero(points)
    groups = [group for _, group in points.groupby(["study", "target"])]
    random = generator(0, "crossing", of, against)
    drawn = [
        _zero(pd.concat([groups[n] for n in random.integers(len(groups), size=len(groups))]))[0]
        for _ in range(BOOTSTRAPS)
    ]
    # A line that never falls crosses nowhere: later than any number of events.
    late = np.where(np.isnan(drawn), np.inf, drawn)
    lower, upper = np.quantile(late, [0.025, 0.975], method="nearest")
    return Crossing(found[0], float(lower), float(upper), found[1], float(events.min()), float(events.max()))


def _zero(points: pd.DataFrame) -> tuple[float, float]:
    """Events at which the least-squares line is 0, NaN where it does not fall; and its slope per doubling."""
    x, y = points["log_events"].to_numpy(), points["gain"].to_numpy()
    spread = np.square(x - x.mean()).sum()
    slope = float(((x - x.mean()) * y).sum() / spread) if spread > 0 else 0.0
    if slope >= 0:
        return np.nan, slope
    with np.errstate(over="ignore"):
        return float(np.exp2(x.mean() - y.mean() / slope)), slope
