"""Check on simulated studies what routing is worth: methods over targets, and whether gates favour who truly helps."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser, numbers

EPILOG = """
Reads what cropkt route has left. With --refit-folds routers are fitted again, on other expert vectors, with the
settings that were chosen: would that have been better? Minutes. The figures of docs/routing.md:

  for seed in 7 8 9; do
    cropkt simulate --out studies/seed$seed --seed $seed
    cropkt route --study studies/seed$seed --out runs/seed$seed --trials 8 \\
        --target uvm,chol,acc,dlbc,meso,ov,paad,pcpg,tgct,ucs,thym,prad,thca
  done
  cropkt check-routing studies/seed7=runs/seed7 studies/seed8=runs/seed8 studies/seed9=runs/seed9
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 a folder does not hold what is needed."""
    parser = Parser(__doc__ or "", prog="cropkt check-routing", epilog=EPILOG)
    parser.add_argument("folders", nargs="+", metavar="STUDY=OUT", help="a simulated study and the results on it")
    parser.add_argument(
        "--refit-folds", type=numbers, default=(), metavar="0,1", help="expert vectors: the mean of these source folds'"
    )
    chosen = parser.parse_args(arguments)
    return run_command(lambda: _refit(chosen) if chosen.refit_folds else _check(chosen.folders))


def _refit(chosen: argparse.Namespace) -> int:
    import pandas as pd

    from cropkt.data.study import open_study
    from cropkt.routing.refit import refit_on_folds
    from cropkt.survival.paired import mean_with_interval
    from cropkt.transfer.store import ResultsFolder

    rows = []
    for named in chosen.folders:
        folder, _, out = named.partition("=")
        study, path = open_study(folder), Path(out) / "routing.parquet"
        if not path.is_file():
            raise ConfigError(f"{named}: no {path}; run cropkt route first")
        identity = pd.read_parquet(path)[["encoder", "architecture", "target"]].drop_duplicates()
        for encoder, architecture, target in identity.itertuples(index=False, name=None):
            results = ResultsFolder(Path(out), encoder, architecture)
            found = refit_on_folds(study, results, target, chosen.refit_folds)
            rows.append({"study": folder, "target": target, **found})
            print(f"{folder} {target}: stored {found['stored']:.3f}, refitted {found['refitted']:.3f}", flush=True)
    table = pd.DataFrame(rows)
    gain = mean_with_interval((table["refitted"] - table["stored"]).to_numpy())
    print(f"refitted minus stored: {gain['mean']:+.3f} ({gain['lower']:+.3f} to {gain['upper']:+.3f})")
    return DONE


def _check(folders: Sequence[str]) -> int:
    import pandas as pd

    from cropkt.routing.worth import group_shares, method_summary, paired_differences

    methods, shares = [], []
    for named in folders:
        study, _, out = named.partition("=")
        paths = [Path(study) / "truth.parquet", Path(out) / "routing.parquet", Path(out) / "gates.parquet"]
        if missing := [path for path in paths if not path.is_file()]:
            raise ConfigError(f"{named}: no {missing[0]}; give a simulated study and the results of cropkt route on it")
        truth, of_study, gates = (pd.read_parquet(path) for path in paths)
        if len(of_study[["encoder", "architecture"]].drop_duplicates()) > 1:
            raise ConfigError(f"{named}: holds routers of several encoders or architectures; name a folder with one")
        methods.append(of_study.assign(study=study))
        shares.append(group_shares(gates, truth).assign(study=study))
    table, share = pd.concat(methods, ignore_index=True), pd.concat(shares, ignore_index=True)
    for title, shown in (
        ("mean pooled C-index over targets", method_summary(table)),
        ("ROUPKT minus ...", paired_differences(table)),
        ("gates", share),
    ):
        print(f"\n{title}\n{shown.to_string(index=False, float_format='%.3f')}")
    grouped = share.dropna(subset=["group_share"])
    print(
        f"\ngate mass on the planted group {grouped['group_share'].mean():.3f}, with equal gates "
        f"{grouped['equal_share'].mean():.3f} ({len(grouped)} targets with a group); rank correlation of gates with "
        f"the sources' true C-index {share['rank_correlation'].mean():.3f} ({len(share)} targets)"
    )
    return DONE
