"""Check that intervals cover, and that false discovery control holds, on simulated cohorts whose truth is known."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser

EPILOG = """
coverage: 1,000 simulated cohorts of 60 patients a setting; seconds.
verdicts: whole matrices of simulated pairs: false claims of each verdict, and what it finds by events; minutes.
calibration: of a finished sweep (--out), recalibrated survival beside Kaplan-Meier in every cohort.
sites: of two finished sweeps of the same patients, with plain folds (--out) and `splits: site` (--by-site): what
own models lose on hospitals that they have not learnt from.
precision: of a finished sweep (--out), what bfloat16 does to each C-index, by the same weights; minutes.
discoveries: whole sweeps of the demo study, one a seed; minutes each, kept under --out and gone on with after a stop.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = Parser(__doc__ or "", prog="cropkt check-significance", epilog=EPILOG)
    parser.add_argument("what", choices=("coverage", "verdicts", "discoveries", "calibration", "sites", "precision"))
    parser.add_argument("--by-site", type=Path, metavar="DIR", help="sites: results folder of the sweep by site")
    parser.add_argument("--cohorts", type=int, default=1000, help="coverage: cohorts a setting (default: 1000)")
    parser.add_argument("--studies", type=int, default=20, help="verdicts: matrices a design (default: 20)")
    parser.add_argument("--seeds", type=int, default=10, help="discoveries: studies, seeds 1 to N (default: 10)")
    parser.add_argument("--transfer", choices=("none", "groups"), default="none", help="discoveries: what is planted")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/significance"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="coverage: seed (default: 0)")
    chosen = parser.parse_args(arguments)
    checks = {
        "coverage": _coverage,
        "verdicts": _verdicts,
        "discoveries": _discoveries,
        "calibration": _calibration,
        "sites": _sites,
        "precision": _precision,
    }
    return run_command(lambda: checks[chosen.what](chosen))


def _coverage(chosen: argparse.Namespace) -> int:
    from cropkt.survival.checks.coverage import coverage_table, error_table

    print(coverage_table(chosen.cohorts, chosen.seed).to_string(index=False, float_format="%.3f"))
    print()
    print(error_table(max(1, chosen.cohorts // 20), chosen.seed).to_string(index=False, float_format="%.3f"))
    return DONE


def _verdicts(chosen: argparse.Namespace) -> int:
    from cropkt.transfer.judgement.verdicts_check import (
        DESIGNS,
        false_claim_table,
        simulated_pairs,
        verdict_power_table,
    )

    print(false_claim_table(chosen.studies, chosen.seed).to_string(index=False, float_format="%.3f"))
    power = verdict_power_table(simulated_pairs(DESIGNS[-1], chosen.studies, chosen.seed))
    print(f"\n{power.to_string(index=False, float_format='%.2f')}")
    return DONE


def _calibration(chosen: argparse.Namespace) -> int:
    from cropkt.experiments.sweep.false_discoveries import calibration_table
    from cropkt.report.read import choose_results

    table = calibration_table(choose_results(chosen.out, None, None).pairs())
    print(table.to_string(index=False, float_format="%.3f"))
    return DONE


def _sites(chosen: argparse.Namespace) -> int:
    import pandas as pd

    from cropkt.report.read import choose_results
    from cropkt.transfer.judgement.site_difference import site_differences

    if chosen.by_site is None:
        raise ConfigError("sites: give --by-site, the results folder of the sweep with `splits: site`")
    plain, by_site = (choose_results(folder, None, None) for folder in (chosen.out, chosen.by_site))
    targets = dict.fromkeys(plain.pairs()["target"])
    table = pd.DataFrame([vars(row) for row in site_differences(plain, by_site, targets)])
    print(table.to_string(index=False, float_format="%.3f"))
    return DONE


def _precision(chosen: argparse.Namespace) -> int:
    import pandas as pd

    from cropkt.data.study import open_study
    from cropkt.report.read import choose_results
    from cropkt.transfer.current import known_study_folder
    from cropkt.transfer.judgement.precision_check import precision_rows

    results = choose_results(chosen.out, None, None)
    cohorts = open_study(known_study_folder(chosen.out), encoder=results.encoder).cohorts
    sources = [cohorts[code] for code in results.models.cohorts()]
    rows = [row for target in cohorts.values() for row in precision_rows(results, sources, target)]
    table = pd.DataFrame([{**vars(row), "errors_away": row.errors_away} for row in rows])
    moved = (table["bfloat16"] - table["float32"]).abs()
    shown = pd.DataFrame({"difference": moved, "in standard errors": table["errors_away"]})
    print(shown.quantile([0.5, 0.95, 0.99, 1]).rename_axis("quantile").to_string(float_format="%.4f"))
    print(f"\nfurthest of {len(table)} pairs:")
    print(table.nlargest(5, "errors_away").to_string(index=False, float_format="%.4f"))
    return DONE


def _discoveries(chosen: argparse.Namespace) -> int:
    from cropkt.experiments.sweep.false_discoveries import discoveries, false_discovery_table, power_table

    pairs = discoveries(range(1, chosen.seeds + 1), chosen.transfer, chosen.out)
    table = false_discovery_table(pairs)
    print(table.to_string(index=False, float_format="%.3f"))
    for side in ("better", "worse"):
        print(f"mean false discovery proportion, {side}: {table[f'proportion_{side}'].mean():.3f}")
    if chosen.transfer == "groups":
        print(power_table(pairs).to_string(index=False, float_format="%.3f"))
    return DONE
