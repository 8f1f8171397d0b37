"""Check what borrowing is worth: one table over all methods, simulated worlds and real sets; and its probability."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser

if TYPE_CHECKING:
    import pandas as pd

EPILOG = """
Reads the curve.parquet that cropkt curve has left. Folders of one NAME are put together: their targets are one world.
SARC, whose reversal is planted in simulated studies, is a line of its own.

  cropkt check-borrowing fractions=runs/seed401 fractions=runs/seed402 fractions=runs/seed403 rna=runs/tme
"""
REVERSED = "sarc"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 a folder does not hold what is needed."""
    parser = Parser(__doc__ or "", prog="cropkt check-borrowing", epilog=EPILOG)
    parser.add_argument("folders", nargs="+", metavar="NAME=OUT", help="a world's name and a results folder")

    def command() -> int:
        return _check(parser.parse_args(arguments).folders)

    return run_command(command)


def _check(folders: Sequence[str]) -> int:
    import pandas as pd

    from cropkt.report.learning_curves import measures

    worlds: dict[str, list[pd.DataFrame]] = {}
    for named in folders:
        name, _, out = named.partition("=")
        path = Path(out) / "curve.parquet"
        if not path.is_file():
            raise ConfigError(f"{named}: no {path}; run cropkt curve first")
        worlds.setdefault(name, []).append(pd.read_parquet(path).assign(study=out))
    rows = []
    for name, parts in worlds.items():
        curve = pd.concat(parts, ignore_index=True)
        measure = next(iter(measures(curve)))
        simulated = measure == "c_index_true"
        rows += _rows(name, curve[~(simulated & (curve["target"] == REVERSED))], measure)
        if simulated:
            rows += _rows(f"{name}: {REVERSED}", curve[curve["target"] == REVERSED], measure)
        _print_calibration(name, curve, measure)
    table = pd.DataFrame(rows).pivot_table(index="method", columns="world", values="shown", aggfunc="first", sort=False)
    print(f"\n| method | {' | '.join(table.columns)} |\n|{'---|' * (len(table.columns) + 1)}")
    for method, cells in table.fillna("").iterrows():
        print(f"| {method} | {' | '.join(cells)} |")
    return DONE


def _rows(world: str, curve: "pd.DataFrame", measure: str) -> list[dict[str, str]]:
    """A row for each size and method: the mean, and what borrowing gains over it with its interval."""
    from cropkt.report.learning_curves import own_methods
    from cropkt.rivals import RIVALS
    from cropkt.rivals.comparison import differences, method_means

    if curve.empty:
        return []
    means = method_means(curve, measure)
    gain = differences(curve, own_methods(), measure=measure).set_index(["patients", "against"]).to_dict("index")
    rows = []
    for row in means.sort_values("mean", ascending=False).itertuples():
        shown, method = f"{row.mean:.3f}", str(row.method)
        if found := gain.get((row.patients, method)):
            shown += f"; {found['mean']:+.3f} ({found['lower']:+.3f} to {found['upper']:+.3f})"
        where = f"{world}, {row.patients}, {row.targets} targets"
        rows.append({"world": where, "method": RIVALS[method].label, "shown": shown})
    return rows


def _print_calibration(world: str, curve: "pd.DataFrame", measure: str) -> None:
    """The probability that borrowing helps, against whether borrowed beat the own ridge model on the draw."""
    import numpy as np

    from cropkt.borrowing.helps import probability_of_gain

    keys = ["study", "patients", "target", "draw", "train_events"]
    wide = curve.pivot_table(index=keys, columns="method", values=measure)
    known = curve[curve["method"] == "borrowed"].set_index(keys)["probability"].reindex(wide.index)
    gain = (wide["borrowed"] - wide["own_ridge"]).to_numpy()
    usable = np.isfinite(gain) & np.isfinite(known.to_numpy())
    gain, agreement = gain[usable], known.to_numpy()[usable]
    events = wide.index.get_level_values("train_events").to_numpy()[usable]
    helps = np.array([probability_of_gain(n, p) for n, p in zip(events, agreement, strict=True)])
    helped = gain > 0
    print(f"\n{world}: {len(gain)} draws, borrowed beat own ridge in {helped.mean():.2f}")
    for name, probability in (("agreement with the others", agreement), ("probability of a gain", helps)):
        brier, constant = np.mean((probability - helped) ** 2), helped.mean() * (1 - helped.mean())
        hurt, good = probability[gain < -0.02], probability[gain > 0.02]
        costs, gains = (f"{part.mean():.2f} ({len(part)})" if len(part) else "-" for part in (hurt, good))
        print(f"  {name}: mean {probability.mean():.2f}, Brier {brier:.3f} (a constant {constant:.3f})")
        print(f"    where borrowing cost more than .02: {costs}, where it gained more: {gains}")
