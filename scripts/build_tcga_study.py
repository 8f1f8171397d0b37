"""Make a study of a published patient-level feature set of TCGA: one bag a patient, scaled without labels.

Writes OUT/study.yaml, OUT/labels and OUT/features; splits are made when the study is first opened. Prints patients,
events and how many were left out for want of features, by cohort.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import DONE, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR", help="folder with <cohort>_survival.csv")
    parser.add_argument("--features", type=Path, required=True, metavar="DIR", help="folder of one feature set")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the study's folder, new or empty")
    parser.add_argument(
        "--standardise",
        choices=("pooled", "cohort"),
        default="pooled",
        help="z-scores over all cohorts, which keeps their differences, or in each (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)

    def command() -> int:
        from cropkt.data.tcga import build_study

        counts = build_study(chosen.labels, chosen.features, chosen.out, standardise=chosen.standardise)
        print(counts.to_string(index=False))
        print(
            f"{counts['patients'].sum()} patients, {counts['events'].sum()} events: python scripts/sweep_transfer.py "
            f"--study {chosen.out}"
        )
        return DONE

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
