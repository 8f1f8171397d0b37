"""What a GPU finds is what a CPU finds: forward, predictions, and the training of a small cohort.

Needs neither Ray nor MLflow: `pytest -m gpu tests/gpu`.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_studies import SmallStudy, small_plan

from cropkt.data.bags import Bags
from cropkt.data.study import open_study
from cropkt.models.architectures import ARCHITECTURES
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, MILModel, TrainedWith
from cropkt.models.precision import matmul_precision
from cropkt.models.predict import predict
from cropkt.survival.concordance import concordance
from cropkt.survival.losses import SurvivalTargets
from cropkt.training import loop
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds
from cropkt.training.pieces import logits_of
from cropkt.training.sources import held_bags, store_null_model, train_cohort

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

FEATURES, PATIENTS = 64, 120
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """No TF32, whose 10 bits would hide a fault."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def cohort(precision: str = "float32", seed: int = 0) -> tuple[Bags, SurvivalTargets]:
    """Bags whose first feature says how dangerously the patient lives; a quarter is censored."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 90, PATIENTS)
    danger = random.normal(size=PATIENTS)
    features = random.normal(size=(lengths.sum(), FEATURES)) * 0.5
    features[:, 0] += np.repeat(danger, lengths)
    death, leaves = random.exponential(np.exp(-2 * danger)) * 1500, random.exponential(6000, PATIENTS)
    time = np.minimum(death, leaves)
    targets = SurvivalTargets(
        torch.from_numpy(time),
        torch.from_numpy((death <= leaves).astype(np.int64)),
        torch.from_numpy(np.minimum(time // 365, 31).astype(np.int64)),
    )
    names = tuple(f"p{number}" for number in range(PATIENTS))
    offsets = torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))
    return Bags(names, torch.from_numpy(features).to(DTYPES[precision]), offsets), targets


def model(name: str = "abmil", *, dropout: float = 0.25, precision: str = "float32") -> MILModel:
    found = build_null_model(Architecture(FEATURES, name, embedding=128, attention=96, dropout=dropout), seed=1)
    found.trained_with = TrainedWith("discrete_nll", precision)
    return found.eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_forward_agrees(name: str) -> None:
    bags, _ = cohort()
    part = bags.take(range(12))
    network = model(name)
    on_cpu = network(part.features, part.offsets)
    on_gpu = network.cuda()(part.features.cuda(), part.offsets.cuda())
    for here, there in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_forward_in_bfloat16_agrees() -> None:
    part = cohort("bfloat16")[0].take(range(12))
    network = model()
    with matmul_precision("bfloat16", "cpu"):
        on_cpu = network(part.features, part.offsets).logits
    with matmul_precision("bfloat16", "cuda"):
        on_gpu = network.cuda()(part.features.cuda(), part.offsets.cuda()).logits
    assert on_gpu.dtype == torch.float32
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=2e-2, rtol=0)


def test_predictions_agree() -> None:
    bags, _ = cohort()
    models = [model(), model()]
    for parameter in models[1].parameters():
        parameter.data *= 1.1
    on_cpu = predict(models, bags)
    on_gpu = predict([one.cuda() for one in models], bags.to("cuda"))
    for field in ("hazard", "risk", "representation"):
        np.testing.assert_allclose(getattr(on_gpu, field), getattr(on_cpu, field), atol=1e-4, err_msg=field)
    assert np.ptp(on_cpu.risk[0]) > 1e-3, "the patients differ"


def trained(device: str, precision: str, dropout: float) -> FoldTraining[MILModel]:
    bags, targets = cohort(precision)
    moved = SurvivalTargets(*(value.to(device) for value in (targets.time, targets.event, targets.interval)))
    job = FoldTraining(0, model(dropout=dropout, precision=precision).to(device), np.arange(PATIENTS))
    config = TrainingConfig(epochs=8, learning_rate=2e-3)
    train_folds([job], bags.to(device), moved, config, seed=7, stream="acc", precision=precision)
    return job


def own_c_index(job: FoldTraining[MILModel], device: str, precision: str) -> float:
    """On patients it has not seen."""
    bags, targets = cohort(precision, seed=1)
    risk = predict([job.model], bags.to(device)).risk[0]
    return concordance(targets.time.numpy(), targets.event.numpy(), risk).c_index


def test_training_agrees_to_rounding_without_dropout() -> None:
    """The same updates: losses agree; weights as far as eight epochs of AdamW carry a rounding error."""
    on_cpu, on_gpu = (trained(device, "float32", 0.0) for device in ("cpu", "cuda"))
    assert on_gpu.losses == pytest.approx(on_cpu.losses, abs=1e-4)
    assert on_cpu.losses[-1] < on_cpu.losses[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_with_dropout_is_as_good(precision: str) -> None:
    """The masks differ (a GPU draws others): the C-index on unseen patients does not, beyond .02."""
    found = {device: own_c_index(trained(device, precision, 0.25), device, precision) for device in ("cpu", "cuda")}
    assert found["cpu"] > 0.7
    assert found["cuda"] == pytest.approx(found["cpu"], abs=0.02)


def test_the_same_seed_gives_the_same_weights_on_a_gpu() -> None:
    first, second = (trained("cuda", "bfloat16", 0.25) for _ in range(2))
    assert first.losses == second.losses


def test_an_update_never_waits_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch raises where the host would wait; an epoch ends with the one wait that reads its losses."""
    attempt = loop._attempt

    def watched(*arguments: object) -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "a prototype feature", on every switch
            torch.cuda.set_sync_debug_mode("error")
        try:
            return attempt(*arguments)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop, "_attempt", watched)
    assert len(trained("cuda", "bfloat16", 0.25).losses) == 8 * 8


def test_little_memory_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations computed again instead of kept, dropout included."""
    monkeypatch.setattr(loop, "PATCHES_PER_PIECE", {"cuda": 200})
    plain = trained("cuda", "float32", 0.25)
    monkeypatch.setattr(
        loop,
        "logits_of",
        lambda network, parts, recompute, **more: logits_of(network, parts, recompute=True, **more),  # noqa: ARG005
    )
    again = trained("cuda", "float32", 0.25)
    assert again.losses == pytest.approx(plain.losses, abs=1e-5)


def test_bags_on_the_host_teach_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cohort that does not fit on the GPU is sent piece by piece."""
    monkeypatch.setattr(loop, "PATCHES_PER_PIECE", {"cuda": 400})
    resident = trained("cuda", "bfloat16", 0.25)
    monkeypatch.setattr(Bags, "to", lambda bags, _: bags)
    sent = trained("cuda", "bfloat16", 0.25)
    assert sent.losses == resident.losses


def test_a_cohort_beyond_the_memory_is_trained_as_one_that_fits(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    acc = open_study(study.folder).cohorts["acc"]
    losses = []
    for memory in (None, 1):
        plan = replace(small_plan(study.folder / f"models {memory}"), device="cuda", memory=memory)
        store_null_model(plan)
        assert held_bags(plan, acc).device.type == ("cuda" if memory is None else "cpu")
        losses.append([(card.losses, card.test_c_index) for card in train_cohort(plan, acc, [0, 1])])
    assert losses[0] == losses[1]
