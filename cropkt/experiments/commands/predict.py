"""Apply a tuned router to new slides: a patient's risk, survival by year, and the experts the router listened to."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.commands.library import predict as library_predict
from cropkt.experiments.config import Parser

if TYPE_CHECKING:
    from cropkt.survival.calibration import Recalibration

YEAR = 365.0
"""Days."""
EPILOG = """
Writes a table with a row per patient: patient_id, risk (a higher risk means an earlier event), survival_year_1, _2, ...
(the probability of not having died of the disease after that many years of 365 days), gate_CODE for each expert.
Probabilities are recalibrated on the target's patients, each by a router that has not seen it, and go as far as these
were followed. They assume that patients who left were as likely to die of the disease later as similar ones who stayed.

  cropkt predict --model runs/demo/routing/simulated/abmil/acc --features new_slides/ --out risks.csv

Where cropkt recommend has been run for the router's target, its answer is told in a sentence, and its JSON is written
beside the table (risks.recommendation.json).

With the models of a library instead of a router: cropkt predict --library FOLDER --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the input is wrong (one message says what)."""
    given = sys.argv[1:] if arguments is None else arguments
    if any(word.partition("=")[0] == "--library" for word in given):
        return library_predict.main(given)

    def command() -> int:
        parser = Parser(__doc__ or "", prog="cropkt predict", epilog=EPILOG)
        parser.add_argument(
            "--model",
            type=Path,
            required=True,
            help="a router (OUT/routing/.../TARGET/router/fold_0.safetensors), or TARGET's folder: all folds' mean",
        )
        parser.add_argument("--features", type=Path, required=True, help="a feature file, or a folder of them")
        parser.add_argument(
            "--patients", type=Path, metavar="CSV", help="columns patient_id, slide (default: every slide is a patient)"
        )
        parser.add_argument("--out", type=Path, default=Path("risks.csv"), help="table to write (default: risks.csv)")
        parser.add_argument("--years", type=int, default=10, help="most years of survival to write (default: 10)")
        parser.add_argument("--strict", action="store_true", help="a slide that cannot be used is an error")
        chosen = parser.parse_args(arguments)
        if chosen.years < 1:
            raise ConfigError(f"--years is {chosen.years}; it must be 1 or more")
        slides = slides_in(chosen.features, chosen.patients)
        import numpy as np

        from cropkt.data.bags import read_slides
        from cropkt.files import atomic_path
        from cropkt.models.precision import torch_dtype
        from cropkt.routing.apply import apply_routers, load_router, router_paths

        routers = [load_router(path) for path in router_paths(chosen.model)]
        bags = read_slides(slides, routers[0].features, dtype=torch_dtype(routers[0].precision), strict=chosen.strict)
        found = apply_routers(routers, bags)
        years = _years(found.calibration, chosen.years)
        days = np.multiply(years, YEAR)
        curves = found.calibration.survival(found.risk, days) if found.calibration else np.empty((len(bags), 0))
        named = [f"survival_year_{year}" for year in years]
        header = ["patient_id", "risk", *named, *(f"gate_{code}" for code in found.experts)]
        with atomic_path(chosen.out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(header)
            for patient, risk, curve, gates in zip(bags.patients, found.risk, curves, found.gates, strict=True):
                numbers = [risk, *curve, *gates]
                writer.writerow([patient, *(f"{number:.6g}" for number in numbers)])
        print(f"{len(bags)} patients: {chosen.out}")
        _tell_recommendation(chosen.model, routers[0].encoder, routers[0].target, chosen.out)
        return DONE

    return run_command(command)


def _tell_recommendation(model: Path, encoder: str, target: str, table: Path) -> None:
    """Say in a sentence what `cropkt recommend` has found for the router's target, and put its JSON beside `table`."""
    from cropkt.borrowing.advice.recommendation import recommendation_path
    from cropkt.files import read_json, write_json

    results = next((folder.parent for folder in model.resolve().parents if folder.name == "routing"), None)
    found = read_json(recommendation_path(results, encoder, target)) if results else None
    if found is None:
        print(f"whether {target} should borrow from other cohorts: cropkt recommend --target {target} says")
        return
    beside = table.with_suffix(".recommendation.json")
    write_json(beside, found)
    print(f"{' '.join(found['sentences'][:2])} All of it: {beside}")


def _years(calibration: "Recalibration | None", most: int) -> list[int]:
    """The years for which there are probabilities, and why there are not more."""
    if calibration is None:
        print("no survival probabilities: the routers have no calibration; run cropkt route again, it makes one")
        return []
    followed = int(calibration.end // YEAR)
    if followed < most:
        print(f"survival probabilities end after {followed} years: the routers' patients were not followed longer")
    return list(range(1, min(most, followed) + 1))


def slides_in(features: Path, patients: Path | None) -> list[tuple[str, Path]]:
    """(patient, file) of every slide, a patient's one after the other."""
    from cropkt.data.slide_files.features import SUFFIXES

    one = features.is_file() or features.suffix.lower() in SUFFIXES
    paths = [features] if one else sorted(path for path in features.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConfigError(f"--features {features}: no feature file there ({', '.join(SUFFIXES)})")
    if patients is None:
        return [(path.stem, path) for path in paths]
    try:
        with open(patients, newline="", encoding="utf-8-sig") as stream:
            owner = {row["slide"].strip(): row["patient_id"].strip() for row in csv.DictReader(stream)}
    except (OSError, KeyError, AttributeError) as error:
        raise ConfigError(f"--patients {patients}: needs columns patient_id and slide ({error})") from error
    if unknown := [path.stem for path in paths if path.stem not in owner]:
        raise ConfigError(f"--patients {patients}: does not name slide {unknown[0]}")
    return sorted((owner[path.stem], path) for path in paths)
