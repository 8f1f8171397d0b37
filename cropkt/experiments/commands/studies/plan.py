"""Say what a sweep would do before it starts: models, pairs, GB, memory, and about how many minutes on this machine.

Takes the flags of `cropkt sweep`. Opens the study, and measures for six seconds how fast this machine reads, trains and
scores. A file that is in memory already reads faster than from its disk.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import RunConfig, command_line, parse

EPILOG = """
Exit code: 0 done, 2 the input is wrong (one message says what).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        parser = command_line(RunConfig, __doc__ or "", epilog=EPILOG, prog="cropkt plan")
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        chosen = parser.parse_args(arguments)
        config = parse(RunConfig, parser, arguments)
        import contextlib
        import sys

        from cropkt.experiments.cluster import session
        from cropkt.experiments.planning.plan import plan_run, told
        from cropkt.experiments.run import prepare

        with session(config.cluster) as cluster:
            with contextlib.redirect_stdout(sys.stderr) if chosen.json else contextlib.nullcontext():
                run = prepare(config, cluster)
            plan = plan_run(run, cluster)
        print(json.dumps(asdict(plan), indent=1) if chosen.json else "\n".join(told(plan)))
        return DONE

    return run_command(command)
