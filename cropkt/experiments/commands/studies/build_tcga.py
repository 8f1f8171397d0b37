"""Make a study of a published patient-level feature set of TCGA: one bag a patient, scaled without labels.

Writes OUT/study.yaml, OUT/labels and OUT/features; splits are made when the study is first opened. Prints patients,
events and how many were left out for want of features, by cohort.
"""

from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = Parser(__doc__ or "", prog="cropkt build-tcga")
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR", help="folder with <cohort>_survival.csv")
    parser.add_argument("--features", type=Path, required=True, metavar="DIR", help="folder of one feature set")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the study's folder, new or empty")
    parser.add_argument(
        "--standardise",
        choices=("pooled", "cohort"),
        default="pooled",
        help="z-scores over all cohorts, which keeps their differences, or in each (default: %(default)s)",
    )
    parser.add_argument("--clinical", type=Path, metavar="FILE", help="table of age, gender, stage by patient_id")
    parser.add_argument(
        "--sites",
        type=Path,
        metavar="FILE",
        help="table of tissue source sites; folds then keep an institution together",
    )
    chosen = parser.parse_args(arguments)

    def command() -> int:
        from cropkt.data.tcga import build_study

        counts = build_study(
            chosen.labels,
            chosen.features,
            chosen.out,
            standardise=chosen.standardise,
            clinical=chosen.clinical,
            sites=chosen.sites,
        )
        print(counts.to_string(index=False))
        print(
            f"{counts['patients'].sum()} patients, {counts['events'].sum()} events: cropkt sweep --study {chosen.out}"
        )
        return DONE

    return run_command(command)
