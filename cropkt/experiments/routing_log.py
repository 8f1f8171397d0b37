"""What a routing run leaves for people."""

from typing import Any


def conclude(run: Any, selection: Any, outcome: Any, spaces: Any) -> None:
    """To come."""
