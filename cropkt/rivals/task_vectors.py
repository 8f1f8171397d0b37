"""Source models merged by their task vectors: what training has added to the common start (Ilharco et al. 2023).

STEPH (arXiv 2603.10526) merges, for every slide, the task vectors of five sources with weights of a hypernetwork. Here
are the simpler merges that it is compared with, of the five sources that rank the target's training patients best.
Written from the papers' formulas. Shapes: S sources, P parameters of a model.
"""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import MILModel
from cropkt.models.predict import predict
from cropkt.rivals.case import Case
from cropkt.rivals.networks import risks_after

MERGED = 5
"""Sources that are merged, as in STEPH."""
KEPT = 0.2
"""Share of a task vector's values that TIES keeps, the largest."""


def best_sources(case: Case) -> list[MILModel]:
    """The MERGED sources with the highest shrunken C-index on the training patients; the first by name if equal."""
    assert case.held is not None
    names = sorted(case.sources)
    risk = predict([case.sources[name] for name in names], case.held.bags.take(case.train)).risk.astype(np.float64)
    scores = [case.shrunken_c_index(of_source) for of_source in risk]
    return [case.sources[names[place]] for place in np.argsort(-np.array(scores), kind="stable")[:MERGED]]


def merged_risk(case: Case, merge: Callable[[Tensor], Tensor]) -> np.ndarray | None:
    """(n,) risks of the test patients by the common start plus `merge` of the best sources' task vectors.

    `merge` makes (P,) of (S, P). None without a source.
    """
    assert case.plan is not None
    sources = best_sources(case)
    if not sources:
        return None
    with torch.no_grad():
        null = build_null_model(case.plan.architecture, case.plan.seed)
        start = parameters_to_vector(null.parameters())
        added = torch.stack([parameters_to_vector(source.parameters()).cpu() - start for source in sources])
        model = deepcopy(sources[0])
        vector_to_parameters((start + merge(added)).to(next(model.parameters()).device), model.parameters())
    return risks_after(case, model.eval(), case.test)


def mean_of(added: Tensor) -> Tensor:
    """(P,) mean of task vectors (S, P)."""
    return added.mean(dim=0)


def ties_of(added: Tensor) -> Tensor:
    """(P,) TIES of task vectors (S, P) (Yadav et al. 2023): trim, elect a sign, average what has it.

    Every vector keeps its KEPT largest values. A parameter's sign is that of the kept values' sum, its value the mean
    of the kept values of this sign; 0 where there is none.
    """
    count = max(1, round(KEPT * added.shape[1]))
    least = added.abs().topk(count, dim=1).values[:, -1:]
    kept = torch.where(added.abs() >= least, added, 0.0)
    agreeing = torch.where(kept * kept.sum(dim=0).sign() > 0, kept, 0.0)
    return agreeing.sum(dim=0) / (agreeing != 0).sum(dim=0).clamp_min(1)
