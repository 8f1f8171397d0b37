"""Measure this machine, and what share of its speed scoring and training reach."""

from argparse import BooleanOptionalAction
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import DEVICES, Parser

EPILOG = """
Writes OUT/benchmark.json and OUT/benchmark.png (.pdf, .svg), and prints the table: multiply and read rates of this
machine, scoring and training as a share of them and against a straightforward loop, growth with patches, patients and
sources, peak memory, what Ray and MLflow cost per trial, and the full study by these numbers with its assumptions.
All is measured by turns in one run. A CPU is measured by processor time, so a busy machine does little harm.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the input is wrong (one message says what)."""

    def command() -> int:
        parser = Parser(__doc__ or "", prog="cropkt benchmark", epilog=EPILOG)
        parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder (default: runs/benchmark)")
        parser.add_argument("--device", choices=DEVICES, default="auto", help="auto is cuda where there is one")
        parser.add_argument("--quick", action="store_true", help="under 90 seconds on two cores; numbers are rough")
        parser.add_argument(
            "--threads",
            type=int,
            help="threads of the CPU (default: 1, as a sweep's worker; beside a GPU 4, which read)",
        )
        parser.add_argument(
            "--ray", action=BooleanOptionalAction, default=True, help="measure Ray and MLflow too (default: --ray)"
        )
        parser.add_argument("--trials", type=int, default=676, help="trials to measure them by (default: 676)")
        parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
        chosen = parser.parse_args(arguments)
        if (chosen.threads is not None and chosen.threads < 1) or chosen.trials < 1:
            raise ConfigError("--threads and --trials must be 1 or more")
        import torch
        from joblib import cpu_count  # type: ignore[import-untyped]

        from cropkt.benchmark.run import run_benchmark
        from cropkt.benchmark.settings import settings_for
        from cropkt.benchmark.show import draw_benchmark, lines
        from cropkt.data.bags import MOST_THREADS
        from cropkt.experiments.planning.trial_cost import measure_trials
        from cropkt.files import write_json

        there = torch.cuda.is_available()
        if chosen.device == "cuda" and not there:
            raise ConfigError("--device cuda: this machine has no CUDA device that torch can use; use --device cpu")
        device = ("cuda" if there else "cpu") if chosen.device == "auto" else chosen.device
        torch.set_num_threads(chosen.threads or (1 if device == "cpu" else min(MOST_THREADS, cpu_count())))
        found = run_benchmark(settings_for(device, quick=chosen.quick, seed=chosen.seed), print)
        trials = measure_trials(20 if chosen.quick else chosen.trials) if chosen.ray else None
        chosen.out.mkdir(parents=True, exist_ok=True)
        write_json(chosen.out / "benchmark.json", asdict(found) | {"trials": trials and asdict(trials)})
        draw_benchmark(found, chosen.out / "benchmark.png")
        print("\n".join([*lines(found), *([str(trials)] if trials else []), f"results: {chosen.out}"]))
        return DONE

    return run_command(command)
