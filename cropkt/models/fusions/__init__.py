"""The fusions: one file each, with the class of that name. See docs/extending.md.

A record is a class of fusions (fusion.Fusion). It is not named here: settings are checked in this table, and an import
would go round in a circle.
"""

from typing import Any

from cropkt.registry import Table

FUSIONS: Table[Any] = Table("fusion", "cropkt.models.fusions")
