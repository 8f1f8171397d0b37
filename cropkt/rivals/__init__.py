"""Everything that a cohort with few patients could do instead of borrowing, on the same patients.

A rival is one file in methods/, or in a folder of it, with the record of that name (docs/borrowing.md). case: what a
rival is given. draws: which patients train. measure: the C-index of each rival on a draw. comparison: paired over
targets, and where own models take over. networks, pan_cancer, task_vectors: what rivals with networks share.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cropkt.errors import refuse_unknown
from cropkt.registry import Table

if TYPE_CHECKING:
    import numpy as np

    from cropkt.rivals.case import Case


POOLED, SOURCES = "pan-cancer networks", "source models"
NEEDS = ("means", "bags", POOLED, SOURCES)
"""What a rival is given: patients' mean features; the target's bags too; and networks that were trained on other
cohorts, on all of them together, or on each alone."""


@dataclass(frozen=True)
class Rival:
    """A way to get the risk of a target's patients.

    fit: learns from `Case.training` and other cohorts, and gives the risk (n,) of `Case.test`, higher is worse; None
    where it cannot be fitted (too few events). own: whether it learns from the target alone. needs: one of NEEDS.
    """

    name: str
    label: str
    fit: "Callable[[Case], np.ndarray | None]"
    own: bool = False
    needs: str = "means"

    def __post_init__(self) -> None:
        refuse_unknown(f"needs of rival {self.name}", self.needs, NEEDS)


ALL = "all"
"""The size of a draw that stands for the study's own folds: everybody is tested once."""
RIVALS: Table[Rival] = Table("rival", "cropkt.rivals.methods")
