"""The fusions: one file each, with the class of that name. See docs/extending.md."""

from typing import TYPE_CHECKING

from cropkt.registry import Table

if TYPE_CHECKING:
    from cropkt.models.fusion import Fusion

FUSIONS: "Table[type[Fusion]]" = Table("fusion", "cropkt.models.fusions")
