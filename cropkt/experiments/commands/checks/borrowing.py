"""Check what borrowing is worth: one table over all methods, simulated worlds and real sets; and its probability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cropkt.errors import ConfigError, refuse_unknown
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser
from cropkt.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

EPILOG = """
Reads the curve.parquet that cropkt curve has left. Folders of one NAME are put together: their targets are one world.
SARC, whose reversal is planted in simulated studies, is a column of its own. A cell is a method's mean C-index (the
true one where a study is simulated), and what borrowing gains over it with the 95 % interval over targets.
Where OUT also holds the results of cropkt route on the same study, its routers and fusions are rows too ("route: ...").
Below, how reliable the probability of a gain is: said on each draw, against whether borrowed beat the own ridge model.

  cropkt check-borrowing fractions=runs/seed401 fractions=runs/seed402 fractions=runs/seed403 rna=runs/tme
  cropkt check-borrowing none=runs/none601 none=runs/none602 none=runs/none603 --over own_ridge
"""
REVERSED = "sarc"
ROUTED = "route: "
"""Before the names of what cropkt route has fitted."""
TOLD = 0.02
"""Gains and costs of the C-index that are worth a word."""
RANGES = (0.0, 0.45, 0.55, 0.6, 0.7, 0.8, 0.9, 1.01)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 a folder does not hold what is needed."""
    parser = Parser(__doc__ or "", prog="cropkt check-borrowing", epilog=EPILOG)
    parser.add_argument("folders", nargs="+", metavar="NAME=OUT", help="a world's name and a results folder")

    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table there (Markdown)")
    parser.add_argument(
        "--over",
        metavar="METHOD",
        help="instead, what each method claims over METHOD (own_ridge, say) in each folder alone, and in how many of "
        "them the interval lies above 0: where nothing can be gained, that is how often gain is claimed",
    )

    def command() -> int:
        chosen = parser.parse_args(arguments)
        return _check(chosen.folders, chosen.out, chosen.over)

    return run_command(command)


def _check(folders: Sequence[str], out: Path | None, over: str | None) -> int:
    import pandas as pd

    worlds: dict[str, list[pd.DataFrame]] = {}
    for named in folders:
        name, _, folder = named.partition("=")
        path = Path(folder) / "curve.parquet"
        if not path.is_file():
            raise ConfigError(f"{named}: no {path}; run cropkt curve first")
        curve = pd.read_parquet(path)
        parts = [curve, *_routed(Path(folder), curve)]
        worlds.setdefault(name, []).append(pd.concat(parts, ignore_index=True).assign(study=folder))
    table = _claims(worlds, over) if over else _compared(worlds)
    print(f"\n{table}")
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(table + "\n", encoding="utf-8")
    return DONE


def _compared(worlds: "Mapping[str, list[pd.DataFrame]]") -> str:
    """Markdown: methods by worlds, and below it how reliable the probability of a gain is."""
    import pandas as pd

    from cropkt.report.learning_curves import measures

    rows, found = [], []
    for name, parts in worlds.items():
        curve = pd.concat(parts, ignore_index=True)
        measure = next(iter(measures(curve)))
        simulated = measure == "c_index_true"
        rows += _rows(name, curve[~(simulated & (curve["target"] == REVERSED))], measure)
        if simulated:
            rows += _rows(f"{name}: {REVERSED}", curve[curve["target"] == REVERSED], measure)
        if said := _said(name, curve, measure):
            found.append(said)
    table = _markdown(rows)
    return f"{table}\n\n{_reliability(found)}" if found else table


def _claims(worlds: "Mapping[str, list[pd.DataFrame]]", over: str) -> str:
    """Markdown: a row per world, size and method: its gain over the method `over`, mean over all folders, and the share
    of folders in which the 95 % interval over targets lies above 0, with its own interval (Clopper and Pearson)."""
    import numpy as np
    from scipy.stats import binomtest

    from cropkt.rivals import RIVALS
    from cropkt.rivals.comparison import sizes_in_order

    refuse_unknown("--over", over, list(RIVALS))
    lines = [
        f"| world | method | folders | less {over}, mean | largest of a folder | intervals above 0 | 95 % interval |",
        f"|{'---|' * 7}",
    ]
    for name, parts in worlds.items():
        sizes = sizes_in_order(size for part in parts for size in part["patients"].unique())
        for size, method in ((size, method) for size in sizes for method in RIVALS if method != over):
            gains = [gain for part in parts if (gain := _gain_in(part, size, method, over)) is not None]
            if not gains:
                continue
            mean = np.array([gain["mean"] for gain in gains])
            above = sum(bool(gain["lower"] > 0) for gain in gains)
            share = binomtest(above, len(gains)).proportion_ci(0.95)
            shown = (
                *(f"{name}, {size}", method, str(len(gains)), _number(mean.mean(), "+"), _number(mean.max(), "+")),
                *(f"{above} of {len(gains)}", f"{_number(share.low)} to {_number(share.high)}"),
            )
            lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def _gain_in(curve: "pd.DataFrame", size: str, method: str, over: str) -> "pd.Series[Any] | None":
    """The gain of `method` in one folder, with its interval over targets; None where one of the two was not measured.
    SARC of a simulated study has no part in it."""
    from cropkt.report.learning_curves import measures
    from cropkt.rivals.comparison import differences

    measure = next(iter(measures(curve)))
    usual = ~((measure == "c_index_true") & (curve["target"] == REVERSED))
    pair = curve[(curve["patients"] == size) & curve["method"].isin([method, over]) & usual]
    return differences(pair, (), of=method, measure=measure).iloc[0] if pair["method"].nunique() == 2 else None


def _routed(folder: Path, curve: "pd.DataFrame") -> "list[pd.DataFrame]":
    """Routers and fusions of the curve's targets as its rows: the study's folds, everybody tested once.

    A method of both tables is shown once; the oracle is no method.
    """
    import pandas as pd

    from cropkt.rivals import ALL, RIVALS
    from cropkt.transfer.rows import ROUTING
    from cropkt.transfer.source_choice import ORACLE

    path = folder / ROUTING.path
    if not path.is_file():
        return []
    table = ROUTING.filled(pd.read_parquet(path))
    identity = ["target", "encoder", "architecture"]
    known = curve.loc[curve["patients"] == ALL, identity].drop_duplicates()
    kept = table[~table["method"].isin([*RIVALS, ORACLE])].merge(known, on=identity)
    values = kept[[*identity, "c_index_true"]].assign(
        method=ROUTED + kept["method"], patients=ALL, draw=0, c_index=kept["c_index_pooled"]
    )
    return [values] if len(values) else []


def _markdown(rows: Sequence[dict[str, str]]) -> str:
    """A column for each world and size, a row for each method; empty where it was not measured."""
    import pandas as pd

    table = pd.DataFrame(rows).pivot_table(index="method", columns="world", values="shown", aggfunc="first", sort=False)
    lines = [f"| method | {' | '.join(table.columns)} |", f"|{'---|' * (len(table.columns) + 1)}"]
    lines += [f"| {method} | {' | '.join(cells)} |" for method, cells in table.fillna("").iterrows()]
    return "\n".join(lines)


def _rows(world: str, curve: "pd.DataFrame", measure: str) -> list[dict[str, str]]:
    """A row for each size and method: its mean, and what borrowing gains over it with the interval over targets.

    Methods need not be measured on the same draws: each is compared with `borrowed` where both are.
    """
    from cropkt.report.learning_curves import FOCUS, own_methods
    from cropkt.rivals import RIVALS
    from cropkt.rivals.comparison import BEST_OWN, by_target, differences, method_means, sizes_in_order

    rows: list[dict[str, str]] = []
    if curve.empty:
        return rows
    for size in sizes_in_order(curve["patients"]):
        of_size = curve[curve["patients"] == size]
        focus = of_size[of_size["method"] == FOCUS]
        everywhere = [m for m in own_methods() if (of_size["method"] == m).sum() == len(focus)]
        names = [*RIVALS, *sorted(m for m in of_size["method"].unique() if m.startswith(ROUTED))]
        found = {m: of_size[of_size["method"].isin([FOCUS, m])] for m in names if (of_size["method"] == m).any()}
        most = len(by_target(focus, measure))
        where = f"{world}, {size}, {most} targets"
        for method, pair in found.items():
            means = {str(row["method"]): row for row in method_means(pair, measure).to_dict("records")}
            if method not in means:
                continue
            shown = _number(means[method]["mean"])
            if method != FOCUS:
                shown += f"; {_gain(differences(pair, (), measure=measure).iloc[0])}"
            if (count := int(means[method]["targets"])) < most:
                shown += f", {count} targets"
            rows.append({"world": where, "method": method, "shown": shown})
        if not everywhere:
            continue
        best = differences(of_size[of_size["method"].isin([FOCUS, *everywhere])], everywhere, measure=measure)
        for row in best[best["against"] == BEST_OWN].to_dict("records"):
            rows.append({"world": where, "method": "best own method, by hindsight", "shown": _gain(row)})
    return rows


def _gain(row: "Mapping[Any, Any] | pd.Series[Any]") -> str:
    """What borrowing gains, with its interval; no interval of one target."""
    mean = _number(row["mean"], "+")
    return f"{mean} ({_number(row['lower'])} to {_number(row['upper'])})" if row["targets"] > 1 else mean


def _number(value: float, sign: str = "") -> str:
    """Three decimals, without the 0 before the point."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


@dataclass(frozen=True)
class _Said:
    """Draws of a world: the probability of a gain that was said of each, and what borrowed gained over own ridge."""

    world: str
    said: "np.ndarray"
    gain: "np.ndarray"


def _said(world: str, curve: "pd.DataFrame", measure: str) -> _Said | None:
    """None where nothing can be said: no own ridge model to gain on, or a table that lacks the signal."""
    import numpy as np

    from cropkt.borrowing.advice.helps import probability_of_gain

    keys = ["study", "patients", "target", "draw", "train_events"]
    wide = curve.pivot_table(index=keys, columns="method", values=measure)
    if not {"borrowed", "own_ridge"} <= set(wide) or "signal" not in curve:
        return None
    known = curve[curve["method"] == "borrowed"].set_index(keys)[["probability", "signal"]].reindex(wide.index)
    gain = (wide["borrowed"] - wide["own_ridge"]).to_numpy()
    usable = np.isfinite(gain) & np.isfinite(known.to_numpy()).all(axis=1)
    if not usable.any():
        return None
    said = [probability_of_gain(agreement, signal) for agreement, signal in known.to_numpy()[usable]]
    return _Said(world, np.array(said), gain[usable])


def _reliability(found: Sequence[_Said]) -> str:
    """Markdown: a row for each world, then one for each range of the probability over all of them."""
    import numpy as np

    lines = [
        "| draws of | draws | said, mean | gained | Brier score | of a constant | said where it cost more than .02 "
        "| where it gained more than .02 |",
        f"|{'---|' * 8}",
    ]
    for one in found:
        gained = one.gain > 0
        brier, constant = np.mean((one.said - gained) ** 2), gained.mean() * (1 - gained.mean())
        numbers = " | ".join(map(_number, (one.said.mean(), gained.mean(), brier, constant)))
        cost, good = (_mean_of(one.said[chosen]) for chosen in (one.gain < -TOLD, one.gain > TOLD))
        lines.append(f"| {one.world} | {len(gained)} | {numbers} | {cost} | {good} |")
    lines += ["", "| probability said | draws | said, mean | gained | mean gain |", f"|{'---|' * 5}"]
    said, gain = (np.concatenate([getattr(one, name) for one in found]) for name in ("said", "gain"))
    for low, high in pairwise(RANGES):
        inside = (said >= low) & (said < high)
        if inside.any():
            numbers = f"{_number(said[inside].mean())} | {_number((gain[inside] > 0).mean())}"
            lines.append(
                f"| {_number(low)} to {_number(min(high, 1.0))} | {inside.sum()} | {numbers} "
                f"| {_number(gain[inside].mean(), '+')} |"
            )
    return "\n".join(lines)


def _mean_of(said: "np.ndarray") -> str:
    return f"{_number(said.mean())} ({len(said)})" if len(said) else "-"
