"""Nested cross-validation within a target: what is chosen for an outer fold never saw that fold's test patients.

The training patients of an outer fold are dealt into inner parts. A model of the target's own is an expert among
others, and the trap: the outer fold's own model has seen every training patient. So for each way of using it there is
an own model that has not seen the patients it is asked about:

- while a setting is judged on inner part k, patients of k get the vector of a model trained without k, and each
  learning patient, of part j say, that of a model trained without j and k;
- in the final fit a learning patient of part j gets the vector of a model trained without j, and a test patient that of
  the outer fold's own model.

The published protocol (`cross_fitted=False`) takes the vectors of learning patients from a model that was trained on
them. Patients who must not be looked at have NaN vectors: a leak would show.
Shapes: B bags of the target, n experts (the target itself first), V width of their vectors.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from cropkt.data.patients.folds import make_splits
from cropkt.errors import StudyError
from cropkt.models.checkpoint import load_model
from cropkt.models.predict import predict
from cropkt.routing.combination import Recipe, build_combination, fold_training, predict_combination
from cropkt.survival.concordance import score_folds
from cropkt.training.loop import FoldTraining, survival_loss, train_epochs, train_folds
from cropkt.training.sources import SourcePlan
from cropkt.training.targets import survival_targets
from cropkt.transfer.pair import ResidentTarget


@dataclass(frozen=True)
class OuterFold:
    """One fold of a target, as indices into its bags. `inner` are disjoint parts that make up `train`."""

    number: int
    train: np.ndarray
    test: np.ndarray
    inner: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class InnerScore:
    """How the inner parts were predicted by models that had not seen them.

    c_index: pooled over parts, comparing patients of one part only; 0.5 where nothing can be compared. loss: mean.
    """

    c_index: float
    loss: float


def outer_fold(held: ResidentTarget, number: int, n_parts: int, seed: int) -> OuterFold:
    """Fold `number` of the cohort `held`, its training patients dealt into at most `n_parts` inner parts, stratified by
    event and project. Raises StudyError when fewer than two training patients, or no test patient, have features."""
    split = held.cohort.folds[number]
    train = held.bags.indices_of(split.train)
    if not (held.tested_in == number).any():
        raise StudyError(f"{held.cohort.code}, fold {number}: no test patient has readable features")
    labels = held.cohort.labels.loc[[held.bags.patients[index] for index in train]]
    stream = f"inner parts of {held.cohort.code}, fold {number}"
    inner = make_splits(labels, min(n_parts, max(2, len(train))), seed, stream)
    return OuterFold(
        number,
        train,
        np.flatnonzero(held.tested_in == number),
        tuple(held.bags.indices_of(part.test) for part in inner),
    )


def left_out_parts(outer: OuterFold, *, cross_fitted: bool, searched: bool = True) -> list[tuple[int, ...]]:
    """Which inner parts own models have to be trained without: each one and, to search cross-fitted, each two."""
    numbers = range(len(outer.inner))
    singles: list[tuple[int, ...]] = [(part,) for part in numbers] if cross_fitted or searched else []
    return singles + (list(combinations(numbers, 2)) if cross_fitted and searched else [])


def own_vectors(
    plan: SourcePlan, held: ResidentTarget, outer: OuterFold, left_out: Sequence[tuple[int, ...]]
) -> dict[tuple[int, ...], np.ndarray]:
    """(B, V) vectors by the inner parts `left_out` of the own model's training; () is the outer fold's own model.

    Without two parts of two, nobody is left to train on: the own model is then the common start of all.
    """
    bags, targets = held.bags, survival_targets(held.cohort, held.bags)
    known = left_out_parts(outer, cross_fitted=True)
    jobs = []
    for parts in left_out:
        model = load_model(plan.null_path(), device=plan.device)
        jobs.append(FoldTraining(known.index(parts), model, without(outer, parts)))
    learning = [job for job in jobs if len(job.train)]
    stream = f"{held.cohort.code}, own models of fold {outer.number}"
    if learning:
        train_folds(learning, bags, targets, plan.training, seed=plan.seed, stream=stream, precision=plan.precision)
    models = [load_model(plan.model_path(held.cohort.code, outer.number), device=plan.device)]
    models += [job.model for job in jobs]
    found = predict(models, bags).representation
    return dict(zip([(), *left_out], found, strict=True))


def without(outer: OuterFold, parts: Sequence[int]) -> np.ndarray:
    """The training patients (indices) of `outer` that are in none of its inner `parts`."""
    held_out = [outer.inner[part] for part in parts]
    return outer.train[~np.isin(outer.train, np.concatenate(held_out))] if held_out else outer.train


def expert_vectors(
    own: Mapping[tuple[int, ...], np.ndarray],
    lent: np.ndarray,
    outer: OuterFold,
    held_out: int | None,
    *,
    cross_fitted: bool,
) -> Tensor:
    """(B, n, V) float32: `own` and then `lent` (B, n - 1, V), for the inner part `held_out` or the final fit (None).

    NaN for patients who have no business there.
    """
    reference = own[()]
    vectors = np.full((len(reference), 1 + lent.shape[1], reference.shape[1]), np.nan, dtype=np.float32)
    asked = outer.train if held_out is not None else np.concatenate([outer.train, outer.test])
    vectors[asked, 1:] = lent[asked]
    base: tuple[int, ...] = () if held_out is None else (held_out,)
    vectors[asked, 0] = own[base][asked]
    if cross_fitted:
        for part, patients in enumerate(outer.inner):
            if part != held_out:
                vectors[patients, 0] = own[tuple(sorted((*base, part)))][patients]
    return torch.from_numpy(vectors)


class InnerTraining:
    """A recipe in training for all inner parts of an outer fold, in step over the resident bags.

    Iterating trains an epoch at a time; `score` may be asked for after any.
    """

    def __init__(
        self,
        recipe: Recipe,
        held: ResidentTarget,
        outer: OuterFold,
        vectors: Sequence[Tensor],
        *,
        intervals: int,
        seed: int,
        precision: str = "float32",
    ) -> None:
        self._recipe, self._target, self._outer = recipe, held, outer
        self._targets = survival_targets(held.cohort, held.bags)
        device = held.bags.features.device
        self._vectors = [of_part.to(device) for of_part in vectors]
        self._models = [
            build_combination(
                recipe,
                width=held.bags.features.shape[1],
                vectors=self._vectors[0],
                intervals=intervals,
                seed=seed,
                precision=precision,
            ).to(device)
            for _ in outer.inner
        ]
        jobs = [
            fold_training(part, model, held.bags, of_part, without(outer, (part,)))
            for part, (model, of_part) in enumerate(zip(self._models, self._vectors, strict=True))
        ]
        self._epochs = train_epochs(
            [job for job in jobs if len(job.train)],
            held.bags,
            self._targets,
            recipe.training,
            seed=seed,
            stream=f"{held.cohort.code}, inner training of fold {outer.number}",
            precision=precision,
        )

    def __iter__(self) -> Iterator[int]:
        return self._epochs

    def score(self) -> InnerScore:
        """Of the models as they are now, on the parts they have not seen."""
        patients = len(self._target.bags)
        risk, part_of = np.full((1, patients), np.nan), np.full(patients, -1)
        losses = []
        for part, held_out in enumerate(self._outer.inner):
            arguments = (self._models[part].eval(), self._target.bags, self._vectors[part], held_out)
            found = predict_combination(*arguments)
            risk[0, held_out], part_of[held_out] = found.risk, part
            logits = torch.from_numpy(found.logits).to(self._targets.time.device)
            loss = survival_loss(logits, self._targets, held_out, self._recipe.training)
            losses.append(float(loss) * len(held_out))
        scores = score_folds(self._target.time, self._target.event, risk, part_of, np.isfinite(risk)).pooled
        c_index = scores.c_index if scores.comparable else 0.5
        return InnerScore(float(c_index), sum(losses) / max(1, len(self._outer.train)))
