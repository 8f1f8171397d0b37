"""`python -m cropkt`, and the console command `cropkt`."""

import sys

from cropkt.experiments.commands import main

if __name__ == "__main__":
    sys.exit(main())
