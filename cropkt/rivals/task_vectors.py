"""Source models merged by their task vectors: what training has added to the common start (Ilharco et al. 2023).

STEPH (arXiv 2603.10526) merges, for every slide, the task vectors of five sources with weights of a hypernetwork. Here
are the simpler merges that it is compared with, of the five sources that rank the target's training patients best.
Written from the papers' formulas. Shapes: S sources, P parameters of a model, B bags, K yearly intervals.

AdaMerging (Yang et al. 2024) chooses the sources' weights so that predictions on slides without labels have the least
entropy. It is made for classes. Here a prediction is the distribution of a patient's year of death, with "later than
all of them" as one more outcome; the slides are the training patients', so that no test patient has a part in it.
"""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import MILModel
from cropkt.models.precision import matmul_precision
from cropkt.models.predict import predict
from cropkt.rivals.case import Case
from cropkt.rivals.networks import risks_after
from cropkt.seeds import generator
from cropkt.survival.losses import LOSSES
from cropkt.training.pan_cancer import thin

MERGED = 5
"""Sources that are merged, as in STEPH."""
KEPT = 0.2
"""Share of a task vector's values that TIES keeps, the largest."""

STEPS, STEP_RATE, BAGS = 50, 0.02, 16
"""AdaMerging: steps of Adam, their rate, and the bags that each step looks at."""

Slope = Callable[[Tensor], Tensor]
"""From a task vector (P,) to the gradient (P,) there of the mean entropy of what the common start plus it predicts."""


def best_sources(case: Case) -> list[MILModel]:
    """The MERGED sources with the highest shrunken C-index on the training patients; the first by name if equal."""
    assert case.held is not None
    names = sorted(case.sources)
    risk = predict([case.sources[name] for name in names], case.held.bags.take(case.train)).risk.astype(np.float64)
    scores = [case.shrunken_c_index(of_source) for of_source in risk]
    return [case.sources[names[place]] for place in np.argsort(-np.array(scores), kind="stable")[:MERGED]]


def merged_risk(case: Case, merge: Callable[[Tensor, MILModel, Tensor], Tensor]) -> np.ndarray | None:
    """(n,) risks of the test patients by the common start plus `merge` of the best sources' task vectors.

    `merge` makes (P,) of the task vectors (S, P), a model to try it on, and the common start (P,). None without a
    source.
    """
    assert case.plan is not None
    sources = best_sources(case)
    if not sources:
        return None
    model = deepcopy(sources[0]).eval()
    with torch.no_grad():
        null = build_null_model(case.plan.architecture, case.plan.seed)
        start = parameters_to_vector(null.parameters()).to(next(model.parameters()).device)
        added = torch.stack([parameters_to_vector(source.parameters()) - start for source in sources])
    merged = merge(added, model, start)
    vector_to_parameters(start + merged, model.parameters())
    return risks_after(case, model, case.test)


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


def adaptive_of(added: Tensor, slope: Slope) -> Tensor:
    """(P,) sum of task vectors (S, P), weighted so that the entropy is low: Adam's STEPS steps from their mean."""
    weights = torch.full((len(added),), 1 / len(added), device=added.device)
    optimiser = torch.optim.Adam([weights], lr=STEP_RATE)
    for _ in range(STEPS):
        weights.grad = added @ slope(weights @ added)
        optimiser.step()
    return weights @ added


def slope_of_entropy(case: Case, model: MILModel, start: Tensor) -> Slope:
    """Of what `model`, with the parameters `start` (P,) plus a task vector, predicts for BAGS of the training patients,
    others at each call. Long bags are thinned, as for pan-cancer networks. Raises ValueError for a model without
    hazards."""
    assert case.held is not None
    reading = model.reading()
    loss = LOSSES[reading.loss]
    if loss.intervals == 1:
        raise ValueError(f"a model trained with {reading.loss} has no hazards, so its predictions have no entropy")
    bags = thin(case.held.bags.take(case.train), seed=case.seed)
    random = generator(case.seed, "merging weights", case.target.cohort)

    def slope(vector: Tensor) -> Tensor:
        vector_to_parameters(start + vector, model.parameters())
        some = bags.take(np.sort(random.permutation(len(bags))[:BAGS]))
        with torch.enable_grad(), matmul_precision(reading.precision, start.device.type):
            output = model(some.features, some.offsets)
            entropy = entropy_of_hazards(loss.hazard_and_risk(output.logits.float())[0]).mean()
            return parameters_to_vector(torch.autograd.grad(entropy, list(model.parameters())))

    return slope


def entropy_of_hazards(hazard: Tensor) -> Tensor:
    """(B,) entropy, in nats, of the interval of death by `hazard` (B, K), "later than all" being one outcome of K + 1.

    By the chain rule: each year's entropy of dying or not, times the probability of being alive then.
    """
    kept = 1 - hazard
    alive = torch.cat([torch.ones_like(kept[:, :1]), kept[:, :-1].cumprod(dim=1)], dim=1)
    return (alive * (torch.special.entr(hazard) + torch.special.entr(kept))).sum(dim=1)
