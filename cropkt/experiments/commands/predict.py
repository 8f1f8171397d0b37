"""Apply a tuned router to new slides: a patient's risk, survival by year, and the experts the router listened to."""

import csv
from collections.abc import Sequence
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser

EPILOG = """
Writes a table with a row per patient: patient_id, risk (a higher risk means an earlier event), survival_year_1, _2, ...
(the probability of living longer than that many years of 365 days), gate_CODE for each expert.

  cropkt predict --model runs/demo/routing/simulated/abmil/acc --features new_slides/ --out risks.csv
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the input is wrong (one message says what)."""

    def command() -> int:
        parser = Parser(__doc__ or "", prog="cropkt predict", epilog=EPILOG)
        parser.add_argument(
            "--model",
            type=Path,
            required=True,
            help="a router (OUT/routing/.../TARGET/router/fold_0.safetensors), or TARGET's folder: all folds' mean",
        )
        parser.add_argument(
            "--features", type=Path, required=True, help="a feature file (.h5, .pt), or a folder of them"
        )
        parser.add_argument(
            "--patients", type=Path, metavar="CSV", help="columns patient_id, slide (default: every slide is a patient)"
        )
        parser.add_argument("--out", type=Path, default=Path("risks.csv"), help="table to write (default: risks.csv)")
        parser.add_argument("--years", type=int, default=10, help="years of survival to write, 1 to 32 (default: 10)")
        parser.add_argument("--strict", action="store_true", help="a slide that cannot be used is an error")
        chosen = parser.parse_args(arguments)
        if not 1 <= chosen.years <= 32:
            raise ConfigError(f"--years is {chosen.years}; it must be 1 to 32")
        slides = slides_in(chosen.features, chosen.patients)
        import numpy as np

        from cropkt.data.bags import read_slides
        from cropkt.files import atomic_path
        from cropkt.models.precision import torch_dtype
        from cropkt.routing.apply import apply_routers, load_router, router_paths

        routers = [load_router(path) for path in router_paths(chosen.model)]
        bags = read_slides(slides, routers[0].features, dtype=torch_dtype(routers[0].precision), strict=chosen.strict)
        found = apply_routers(routers, bags)
        known = min(chosen.years, found.survival.shape[1]) if np.isfinite(found.survival).any() else 0  # none for Cox
        years = [f"survival_year_{year}" for year in range(1, known + 1)]
        header = ["patient_id", "risk", *years, *(f"gate_{code}" for code in found.experts)]
        with atomic_path(chosen.out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(header)
            for patient, risk, curve, gates in zip(bags.patients, found.risk, found.survival, found.gates, strict=True):
                numbers = [risk, *curve[:known], *gates]
                writer.writerow([patient, *(f"{number:.6g}" for number in numbers)])
        print(f"{len(bags)} patients: {chosen.out}")
        return DONE

    return run_command(command)


def slides_in(features: Path, patients: Path | None) -> list[tuple[str, Path]]:
    """(patient, file) of every slide, a patient's one after the other."""
    paths = [features] if features.is_file() else sorted([*features.glob("*.h5"), *features.glob("*.pt")])
    if not paths:
        raise ConfigError(f"--features {features}: no .h5 or .pt file there")
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
