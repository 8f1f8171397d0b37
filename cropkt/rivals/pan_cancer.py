"""What pan-cancer networks say of a target's patients, and of the other cohorts' patients that they have not seen.

Vectors of patients that trained a network remember their outcomes: a prior made of them would be too sure of itself. So
the lenders of a network are the patients of the part that it has not learnt from (training/pan_cancer.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cropkt.borrowing.fit import TargetFit, fit_target
from cropkt.borrowing.lenders import CohortPatients, Lenders, gather_lenders
from cropkt.data.bags import Bags
from cropkt.models.mil import MILModel
from cropkt.models.predict import predict
from cropkt.training.pan_cancer import Pool


@dataclass(frozen=True)
class PanCancerNetworks:
    """M networks that no patient of the target has trained.

    risk (M, B), vectors (M, B, E): of the target's B patients; no outcome of them is used. lenders: of each network.
    """

    networks: tuple[MILModel, ...]
    risk: np.ndarray
    vectors: np.ndarray
    lenders: tuple[Lenders, ...]

    def fits(self, train: np.ndarray, time: np.ndarray, event: np.ndarray) -> list[TargetFit]:
        """What borrowing makes of the vectors of the target's patients `train` (indices), with their outcomes."""
        return [
            fit_target(lenders.model, lenders.axes, vectors[train], time, event)
            for lenders, vectors in zip(self.lenders, self.vectors, strict=True)
        ]


def unseen_patients(pool: Pool, codes: Sequence[str], networks: Sequence[MILModel]) -> list[list[CohortPatients]]:
    """For each network, the patients of every cohort that it has not seen, with its vectors as their features.

    `codes` name the pool's cohorts. A cohort with fewer than two such patients has no moments and is left out.
    """
    vectors = predict(networks, pool.bags).representation.astype(np.float64)
    found = []
    for part in range(len(networks)):
        chosen = [np.flatnonzero((pool.cohort == n) & (pool.part == part)) for n in range(len(codes))]
        found.append(
            [
                CohortPatients(code, vectors[part, rows], pool.time[rows], pool.event[rows])
                for code, rows in zip(codes, chosen, strict=True)
                if len(rows) > 1
            ]
        )
    return found


def networks_for(
    networks: Sequence[MILModel], unseen: Sequence[Sequence[CohortPatients]], bags: Bags
) -> PanCancerNetworks:
    """The networks, their lenders, and what they say of the target's `bags`."""
    said = predict(networks, bags)
    return PanCancerNetworks(
        tuple(networks),
        said.risk.astype(np.float64),
        said.representation.astype(np.float64),
        tuple(gather_lenders(cohorts) for cohorts in unseen),
    )
