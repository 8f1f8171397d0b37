"""Score new slides with a library's models: risk, percentile and survival, and which slides are unlike its cohorts'."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser, codes

if TYPE_CHECKING:
    import pandas as pd

EPILOG = """
Writes a row per source and patient: patient_id, source, cohort, slides, slides_unlike, risk (in standard deviations
from the cohort's mean; a higher risk means an earlier event), percentile (of the cohort's patients with a lower risk),
survival_year_1, survival_year_1_lower, survival_year_1_upper, ... (empty beyond the cohort's follow-up), risk_fold_0,
... (each model's own). Beside it, NAME_slides: patches of each slide, its distance to the cohort's slides, the limit.
It says which source the run behind the library chose for the cohort, and what cropkt recommend found there, if it was
asked (NAME_recommendation_COHORT.json).

  cropkt predict --library libraries/demo --features new_slides/ --source gbmlgg --cohort acc --out risks.csv
  cropkt predict --library libraries/demo --features new_slides/ --table patients.csv --ensemble --cohort acc
"""
MOST_YEARS = 30
NAMED = 5
"""Slides that a warning names."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the input is wrong (one message says what)."""

    def command() -> int:
        chosen = _parser().parse_args(arguments)
        if not 1 <= chosen.years <= MOST_YEARS:
            raise ConfigError(f"--years is {chosen.years}; it must be 1 to {MOST_YEARS}")
        if chosen.out.suffix not in (".csv", ".parquet"):
            raise ConfigError(f"--out {chosen.out}: end it with .csv or .parquet")
        from cropkt.portable.advice import read_advice
        from cropkt.portable.bundle import ENSEMBLE, open_library
        from cropkt.portable.new_slides import find_slides, require_encoder
        from cropkt.portable.predict import Question, ask

        library = open_library(chosen.library)
        advice = read_advice(chosen.library)
        if chosen.ensemble and chosen.cohort is None:
            raise ConfigError("--ensemble needs --cohort, the cohort that the new patients are like")
        asked = ((ENSEMBLE,) if chosen.ensemble else ()) + chosen.source
        if not asked:
            raise ConfigError(_nothing_asked(advice, chosen.cohort))
        questions = [Question(source, chosen.cohort or source, chosen.years) for source in asked]
        slides = find_slides(chosen.features, chosen.table)
        if warning := require_encoder(slides, library.config.encoder):
            print(f"warning: {warning}", file=sys.stderr)
        answer = ask(library, questions, slides, device=chosen.device, strict=chosen.strict)
        beside = chosen.out.with_name(f"{chosen.out.stem}_slides{chosen.out.suffix}")
        _write(chosen.out, answer.patients)
        _write(beside, answer.slides)
        _warn(answer.slides)
        _advise(advice, dict.fromkeys(question.cohort for question in questions), chosen.out)
        print(f"{answer.patients['patient_id'].nunique()} patients: {chosen.out}; their slides: {beside}")
        return DONE

    return run_command(command)


def _parser() -> Parser:
    parser = Parser(__doc__ or "", prog="cropkt predict --library", epilog=EPILOG)
    parser.add_argument("--library", type=Path, required=True, metavar="FOLDER", help="made by cropkt library export")
    parser.add_argument("--features", type=Path, required=True, help="a feature file, or a folder of them")
    parser.add_argument(
        "--table", type=Path, metavar="CSV", help="columns slide and patient_id (default: every slide is a patient)"
    )
    parser.add_argument("--source", type=codes, default=(), metavar="A,B", help="sources to ask, each by itself")
    parser.add_argument("--ensemble", action="store_true", help="all sources other than --cohort, percentiles averaged")
    parser.add_argument(
        "--cohort",
        type=str.lower,
        help="the cohort that the new patients are like: percentile, survival and distance are in its terms "
        "(default: the source)",
    )
    parser.add_argument("--years", type=int, default=5, help="years of survival (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("risks.csv"), help=".csv or .parquet (default: risks.csv)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default: cpu")
    parser.add_argument("--strict", action="store_true", help="a slide that cannot be used is an error")
    return parser


def _nothing_asked(advice: Mapping[str, Any], code: str | None) -> str:
    """No source is taken for the person who asks, but the library may know whom to ask."""
    from cropkt.portable.advice import sentences_of

    if code is None:
        return "nothing is asked: name a --source; with --cohort, the one the patients are like, it says which"
    known = sentences_of(advice, code)[:1] or [f"the library cannot tell which source reads {code} best"]
    return f"nothing is asked: name a --source, or --ensemble; {known[0]}"


def _advise(advice: Mapping[str, Any], cohorts: Iterable[str], table: Path) -> None:
    """Say which source the run chose for the cohorts, and whether to borrow; the latter's JSON goes beside `table`."""
    from cropkt.files import write_json
    from cropkt.portable.advice import sentences_of

    for cohort in cohorts:
        print("\n".join(sentences_of(advice, cohort)) or f"which source reads {cohort} best the library cannot tell")
        if borrowing := advice.get(cohort, {}).get("borrowing"):
            beside = table.with_name(f"{table.stem}_recommendation_{cohort}.json")
            write_json(beside, borrowing)
            print(f"all of it: {beside}")


def _write(path: Path, table: "pd.DataFrame") -> None:
    from cropkt.files import atomic_path

    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, float_format="%.9g")  # tells one float32 from the next


def _warn(slides: "pd.DataFrame") -> None:
    """Name slides that lie farther from a cohort's than its limit."""
    for cohort, of_cohort in slides.groupby("cohort", sort=False):
        unlike = of_cohort.loc[of_cohort["unlike"], "slide"]
        if len(unlike):
            more = f" and {len(unlike) - NAMED} more" if len(unlike) > NAMED else ""
            print(
                f"warning: {len(unlike)} of {len(of_cohort)} slides are unlike those of {cohort} that the models know: "
                f"{', '.join(unlike[:NAMED])}{more}; check tissue, scanner, magnification and encoder before you read "
                "their risks",
                file=sys.stderr,
            )
        elif of_cohort["distance"].isna().all():
            print(f"warning: the library does not know what slides of {cohort} look like", file=sys.stderr)
