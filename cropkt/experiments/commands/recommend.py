"""From which cancers a cohort should borrow, whether that helps, which C-index to expect, and what not to use."""

from collections.abc import Sequence

from cropkt.experiments.borrowing.config import RecommendConfig
from cropkt.experiments.command import run_command
from cropkt.experiments.config import command_line, parse

EPILOG = """
For a cohort of any size. With outcomes it also says how probable it is that borrowing helps. Without outcomes, give a
folder of slides: --features DIR. After cropkt curve it says how many events it takes to do without.

Writes borrowing/<encoder>/recommendations/TARGET.json, a section of the report where there is one, and prints it.

  cropkt recommend --target acc
  cropkt recommend --study /data/uni2h --target mine --features new_slides/ --patients patients.csv
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the input is wrong (one message says what)."""

    def command() -> int:
        parser = command_line(RecommendConfig, __doc__ or "", epilog=EPILOG, prog="cropkt recommend")
        config = parse(RecommendConfig, parser, arguments)
        from cropkt.experiments.borrowing.recommend import recommend
        from cropkt.experiments.commands.predict import slides_in

        asked = config.asked
        return recommend(config, slides_in(asked.features, asked.patients) if asked.features else ())

    return run_command(command)
