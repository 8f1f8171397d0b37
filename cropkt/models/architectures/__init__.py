"""The architectures: one file each, with the class of that name. See docs/extending.md."""

from typing import TYPE_CHECKING

from cropkt.registry import Table

if TYPE_CHECKING:
    from cropkt.models.mil import MILModel

ARCHITECTURES: "Table[type[MILModel]]" = Table("architecture", "cropkt.models.architectures")
