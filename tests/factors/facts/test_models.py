"""How alike models are, and how well their vectors would fit a target's outcomes."""

import copy

import numpy as np
import torch
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from cropkt.factors.facts.logme import log_evidence
from cropkt.factors.facts.models import attend, attention_overlap, kernel_alignment, weight_cosines
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, MILModel

ARCHITECTURE = Architecture(features=6, embedding=8, attention=5)


def moved(null: MILModel, direction: int, length: float) -> MILModel:
    """The null model, its weights moved by `length` along a random direction."""
    random = torch.Generator().manual_seed(direction)
    model = copy.deepcopy(null)
    with torch.no_grad():
        for weight in model.parameters():
            weight += length * torch.randn(weight.shape, generator=random)
    return model


def test_cosines_are_of_the_changes_from_the_common_start() -> None:
    null = build_null_model(ARCHITECTURE, 7)
    models = [moved(null, 1, 0.1), moved(null, 1, 0.3), moved(null, 1, -0.2), moved(null, 2, 0.1), null]
    cosines = weight_cosines(models, null)
    assert_allclose(cosines[0, :3], [1, 1, -1], atol=1e-4)
    assert abs(cosines[0, 3]) < 0.3
    assert np.isnan(cosines[0, 4])
    # The start itself, which all models share, does not make them alike.
    weights = [torch.cat([w.flatten() for w in model.parameters()]) for model in models]
    assert torch.nn.functional.cosine_similarity(weights[0], weights[3], dim=0) > 0.5


def test_alignment_is_one_up_to_rotation_and_zero_for_unrelated_vectors_of_few_patients() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((30, 20))
    rotation = np.linalg.qr(random.standard_normal((20, 20)))[0]
    assert_allclose(kernel_alignment(vectors, 3 * vectors @ rotation + 5), 1)
    unrelated = [kernel_alignment(random.standard_normal((8, 50)), random.standard_normal((8, 50))) for _ in range(300)]
    assert abs(np.mean(unrelated)) < 4 * np.std(unrelated) / np.sqrt(300)
    assert np.isnan(kernel_alignment(vectors[:3], vectors[:3]))


def test_overlap_is_the_attention_that_two_models_share() -> None:
    attention = np.array([[0.5, 0.5, 0.2, 0.8], [1.0, 0.0, 0.2, 0.8], [0.0, 1.0, 0.8, 0.2]])
    overlap = attention_overlap(attention, np.array([0, 2, 4]))
    assert_allclose(overlap, [[1, 0.75, 0.45], [0.75, 1, 0.2], [0.45, 0.2, 1]])


def test_attention_is_the_models_own() -> None:
    models = [build_null_model(ARCHITECTURE, seed).eval() for seed in (1, 2)]
    features, offsets = torch.randn(9, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 4, 9])
    found = attend(models, features, offsets)
    with torch.inference_mode():
        expected = np.stack([model(features, offsets).attention.numpy() for model in models])
    assert_allclose(found, expected, rtol=1e-5)
    assert_allclose(found[:, :4].sum(axis=1), 1, rtol=1e-5)


def test_log_evidence_is_the_best_over_signal_and_noise() -> None:
    random = np.random.default_rng(1)
    for patients, width in ((60, 12), (40, 200)):
        vectors = random.standard_normal((patients, width))
        outcome = vectors[:, :3].sum(axis=1) + random.standard_normal(patients)
        # The reference: the Gaussian likelihood of the outcome but for its mean, with its two variances free.
        contrasts = np.linalg.qr(np.column_stack([np.ones(patients), np.eye(patients)[:, 1:]]))[0][:, 1:]
        gram = contrasts.T @ vectors @ vectors.T @ contrasts
        y = contrasts.T @ (outcome / outcome.std())

        def lost(logs: np.ndarray, gram: np.ndarray = gram, y: np.ndarray = y, free: int = patients - 1) -> float:
            covariance = np.exp(logs[0]) * gram + np.exp(logs[1]) * np.eye(free)
            determinant = np.linalg.slogdet(covariance)[1]
            return (determinant + y @ np.linalg.solve(covariance, y) + free * np.log(2 * np.pi)) / (2 * free)

        best = min(minimize(lost, start, method="Nelder-Mead").fun for start in ([-5, 0], [-3, -1]))
        assert_allclose(log_evidence(vectors, outcome), -best, atol=1e-5)


def test_log_evidence_prefers_vectors_that_tell_the_outcome() -> None:
    random = np.random.default_rng(2)
    vectors = random.standard_normal((50, 100))
    told = vectors[:, :5].sum(axis=1) + 0.5 * random.standard_normal(50)
    assert log_evidence(vectors[:, :20], told) > log_evidence(random.standard_normal((50, 20)), told) + 0.05
    assert np.isnan(log_evidence(vectors, np.ones(50)))
