"""How alike two models are: how training moved their weights, what they make of patients, where they look."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from cropkt.data.slide_files.features import FeatureFileError, read_features
from cropkt.data.study import Cohort
from cropkt.models.mil import MILModel, forward_together
from cropkt.seeds import generator


def weight_cosines(models: Sequence[MILModel], null: MILModel) -> np.ndarray:
    """(M, M) cosines between the models' changes from their common start, over all weights; NaN for no change."""
    start = _flat(null)
    moved = torch.stack([_flat(model) - start for model in models])
    length = moved.norm(dim=1, keepdim=True)
    unit = torch.where(length > 0, moved / length, torch.nan)
    return (unit @ unit.T).numpy().astype(np.float64)


def kernel_alignment(one: np.ndarray, other: np.ndarray) -> float:
    """Linear CKA of two models' bag vectors (N, E) of the same N >= 4 patients, without the bias of few patients.

    Kornblith et al. (ICML 2019) with the unbiased estimate of HSIC (Song et al., JMLR 2012), so unrelated vectors give
    0 on average, not more the fewer patients there are. 1 is the same up to rotation and scale.
    """
    if len(one) < 4:
        return float("nan")
    first, second = _centred_gram(one), _centred_gram(other)
    norms = (first * first).sum() * (second * second).sum()
    return float((first * second).sum() / np.sqrt(norms)) if norms > 0 else float("nan")


def attention_overlap(attention: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(M, M) mean over bags of the attention that two models share: sum of the smaller of both, 1 when they are equal.

    attention: (M, P), summing to 1 over each bag; bag b owns offsets[b]:offsets[b + 1].
    """
    models, bags = len(attention), len(offsets) - 1
    shared = np.zeros((models, models))
    for start, end in pairwise(offsets):
        part = attention[:, start:end]
        for m in range(models):
            shared[m] += np.minimum(part[m], part).sum(axis=1)
    return shared / bags


def few_bags(
    cohort: Cohort, n_patients: int, n_patches: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, list[tuple[str, int]]]:
    """Some patients of `cohort`, at most `n_patches` patches each: features (P, D), offsets, patches' (slide, row)."""
    names = sorted(cohort.slides.loc[cohort.slides["patches"] > 0, "patient_id"].unique())
    random = generator(seed, "factors", "attention", cohort.code)
    features, lengths, origin = [], [], []
    for patient in random.permutation(names)[:n_patients]:
        rows = cohort.slides[cohort.slides["patient_id"] == patient]
        of_patient, where = [], []
        for slide, path in zip(rows["slide"], rows["path"], strict=True):
            try:
                read = read_features(path)
            except FeatureFileError:
                continue
            chosen = np.sort(random.permutation(len(read))[:n_patches])
            of_patient.append(torch.from_numpy(read[chosen].astype(np.float32)))
            where += [(str(slide), int(row)) for row in chosen]
        if not of_patient:
            continue
        bag = torch.cat(of_patient)
        kept = np.sort(random.permutation(len(bag))[:n_patches])
        features.append(bag[kept])
        lengths.append(len(kept))
        origin += [where[row] for row in kept]
    offsets = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int64)
    return torch.cat(features), offsets, origin


def attend(models: Sequence[MILModel], features: torch.Tensor, offsets: torch.Tensor) -> np.ndarray:
    """(M, P) attention of models of one architecture."""
    with torch.inference_mode():
        return torch.stack([out.attention for out in forward_together(models, features, offsets)]).numpy()


def _flat(model: MILModel) -> torch.Tensor:
    return torch.cat([value.detach().flatten().float() for value in model.state_dict().values()])


def _centred_gram(vectors: np.ndarray) -> np.ndarray:
    """Gram matrix with a zero diagonal, centred so that products of two of them estimate HSIC without bias."""
    vectors = np.asarray(vectors, dtype=np.float64)
    vectors = vectors - vectors.mean(axis=0)
    gram = vectors @ vectors.T
    np.fill_diagonal(gram, 0)
    n = len(gram)
    sums = gram.sum(axis=0)
    centred = gram - (sums[:, None] + sums) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    return centred
