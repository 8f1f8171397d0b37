"""Simulate a study with known truth: slides and survival of up to 26 cohorts, and what every pair should show.

Writes OUT/study.yaml, OUT/labels, OUT/features, OUT/truth.parquet (by pair) and OUT/truth_patients.parquet; splits are
made when the study is first opened. docs/simulation.md explains the model. The same flags give the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser
from cropkt.simulation.config import SIGNALS, TRANSFER, SimulationConfig

DEFAULT = SimulationConfig()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = Parser(__doc__ or "", prog="cropkt simulate")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the study's folder, new or empty")
    parser.add_argument("--seed", type=int, default=DEFAULT.seed, help="seed of everything (default: %(default)s)")
    parser.add_argument(
        "--transfer",
        choices=TRANSFER,
        default=DEFAULT.transfer,
        help="groups: cohorts of a group share what drives survival; none: slides tell nothing about survival, so that "
        "no pair transfers (default: %(default)s)",
    )
    parser.add_argument(
        "--signal",
        choices=SIGNALS,
        default=DEFAULT.signal,
        help="where the risk shows: in the fractions of tissue, in the few patches of a rare prototype, or in the most "
        "extreme patches (default: %(default)s)",
    )
    parser.add_argument("--cohorts", metavar="A,B", help="codes of the 26 cohorts, e.g. blca,hnsc,ACC (default: all)")
    parser.add_argument(
        "--patients",
        type=float,
        default=DEFAULT.patients,
        metavar="FACTOR",
        help="multiplies every cohort's number of patients (default: %(default)s, 40 to 120 patients)",
    )
    parser.add_argument(
        "--patches",
        type=int,
        nargs=2,
        default=DEFAULT.patches,
        metavar=("LEAST", "MOST"),
        help=f"patches a patient (default: {DEFAULT.patches[0]} {DEFAULT.patches[1]})",
    )
    parser.add_argument("--dim", type=int, default=DEFAULT.dim, help="feature width (default: %(default)s)")
    parser.add_argument("--folds", type=int, default=DEFAULT.folds, help="folds (default: %(default)s)")
    parser.add_argument(
        "--effect",
        type=float,
        default=DEFAULT.effect,
        help="standard deviation of a patient's log-risk (default: %(default)s)",
    )
    chosen = vars(parser.parse_args(arguments))

    def command() -> int:
        from cropkt.simulation.study import simulate_study

        out = chosen.pop("out")
        cohorts = chosen.pop("cohorts")
        chosen["patches"] = tuple(chosen["patches"])
        if cohorts is not None:
            chosen["cohorts"] = tuple(dict.fromkeys(code.strip().lower() for code in cohorts.split(",")))
        counts = simulate_study(out, SimulationConfig(**chosen))
        print(counts.to_string(index=False))
        print(
            f"{counts['patients'].sum()} patients, {counts['events'].sum()} events, {counts['patches'].sum()} patches: "
            f"cropkt sweep --study {out}"
        )
        return DONE

    return run_command(command)
