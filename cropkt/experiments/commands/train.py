"""Train the source models: one survival model per cohort and fold, with Ray Train."""

from collections.abc import Sequence

from cropkt.experiments.command import run_command
from cropkt.experiments.config import RunConfig, command_line, parse

EPILOG = """
Writes to the results folder: models/<encoder>/<architecture>/<cohort>/fold_<n>.safetensors with a JSON card each.
Models that are there and would be trained the same way are kept. Run it again to go on after a stop.

Exit code: 0 done, 1 some cohorts could not be trained (they are listed), 2 the input is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        config = parse(RunConfig, command_line(RunConfig, __doc__ or "", epilog=EPILOG, prog="cropkt train"), arguments)
        from cropkt.experiments.sources.driver import train_sources

        return train_sources(config)

    return run_command(command)
