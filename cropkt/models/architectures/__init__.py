"""The architectures: one file each, with the class of that name. See docs/extending.md.

A record is a class of models (mil.MILModel). It is not named here: models check their architecture in this table, and
an import would go round in a circle.
"""

from typing import Any

from cropkt.registry import Table

ARCHITECTURES: Table[Any] = Table("architecture", "cropkt.models.architectures")
