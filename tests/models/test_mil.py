"""ABMIL against its formula written out by hand, and stored models against what they were."""

import copy
import pickle
from pathlib import Path

import pytest
import torch

from cropkt.data.bags import Bags
from cropkt.errors import CheckpointError, ConfigError
from cropkt.models.architectures import ARCHITECTURES
from cropkt.models.checkpoint import build_null_model, card_path, load_model, load_published, save_model
from cropkt.models.mil import Architecture, MILModel, TrainedWith
from cropkt.models.precision import matmul_precision
from cropkt.models.predict import predict
from cropkt.survival.losses import LOSSES

SMALL = {"features": 6, "embedding": 8, "attention": 5, "intervals": 4}
LENGTHS = [3, 1, 7]


def bags(lengths: list[int] = LENGTHS, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return torch.randn(int(offsets[-1]), width, generator=torch.Generator().manual_seed(1)), offsets


def model(name: str = "abmil", **changes: object) -> MILModel:
    return build_null_model(Architecture(name=name, **{**SMALL, **changes}), seed=3).eval()


def test_gated_attention_is_the_formula_of_the_paper() -> None:
    features, offsets = bags()
    network = model()
    output = network(features, offsets)
    weights = network.state_dict()
    for bag in range(3):
        x = features[offsets[bag] : offsets[bag + 1]]
        h = torch.relu(x @ weights["feat_proj.0.weight"].T + weights["feat_proj.0.bias"])
        a = torch.tanh(
            h @ weights["attention_net.attention_a.0.weight"].T + weights["attention_net.attention_a.0.bias"]
        )
        b = torch.sigmoid(
            h @ weights["attention_net.attention_b.0.weight"].T + weights["attention_net.attention_b.0.bias"]
        )
        score = (a * b) @ weights["attention_net.attention_c.weight"][0] + weights["attention_net.attention_c.bias"]
        attention = torch.exp(score) / torch.exp(score).sum()
        z = (attention[:, None] * h).sum(0)
        torch.testing.assert_close(output.representation[bag], z)
        torch.testing.assert_close(output.attention[offsets[bag] : offsets[bag + 1]], attention)
        torch.testing.assert_close(output.logits[bag], z @ weights["pred_head.weight"].T + weights["pred_head.bias"])


@torch.inference_mode()
def test_dsmil_chooses_its_patch_in_float32() -> None:
    features, offsets = bags()
    network = model("dsmil")
    network.get_parameter("b_classifier.fcc.weight").zero_()
    scores = network.get_submodule("i_classifier.fc")(features)
    highest = torch.stack([scores[offsets[bag] : offsets[bag + 1]].max(dim=0).values for bag in range(3)])
    with matmul_precision("bfloat16", "cpu"):
        logits = network(features, offsets).logits
    torch.testing.assert_close(logits, (highest + network.get_parameter("b_classifier.fcc.bias")) / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "abmill"}, "abmil, abmil_ungated"),
        ({"embedding": 0}, "embedding"),
        ({"dropout": 1.0}, "dropout"),
        ({"name": "transmil", "embedding": 12}, "multiple of 8"),
    ],
)
def test_an_impossible_architecture_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Architecture(**{**SMALL, **change})


def test_the_null_model_depends_on_the_seed_alone() -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    first, second, other = (build_null_model(Architecture(**SMALL), seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.pred_head.weight, second.pred_head.weight)
    assert not torch.equal(first.pred_head.weight, other.pred_head.weight)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_stored_model_comes_back_the_same(name: str, tmp_path) -> None:
    network = model(name)
    path = tmp_path / "fold_0.safetensors"
    save_model(path, network, {"cohort": "acc"})
    back = load_model(path)
    assert back.architecture == network.architecture
    assert not back.training
    features, offsets = bags()
    for one, other in zip(network(features, offsets), back(features, offsets), strict=True):
        assert torch.equal(one, other)
    assert all(value.requires_grad for value in back.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_can_be_copied_and_sent_to_another_process(name: str) -> None:
    network = model(name)
    features, offsets = bags()
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert type(other) is type(network)
        assert torch.equal(other(features, offsets).logits, network(features, offsets).logits)


def test_a_model_without_its_card_or_with_damaged_weights_is_refused(tmp_path) -> None:
    path = tmp_path / "fold_0.safetensors"
    save_model(path, model(), {})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(path)
    path.write_bytes(whole)
    card_path(path).unlink()
    with pytest.raises(CheckpointError, match="card"):
        load_model(path)


def test_a_checkpoint_of_another_model_never_scores_as_random_weights(tmp_path) -> None:
    path = tmp_path / "train_model-last.pth"
    torch.save({"epoch": 20, "model": model("mean").state_dict()}, path)
    with pytest.raises(CheckpointError, match="attention_net"):
        load_published(path, Architecture(**SMALL), loss="discrete_nll")
    with pytest.raises(CheckpointError, match="expected \\(8, 9\\), found \\(8, 6\\)"):
        load_published(path, Architecture(**{**SMALL, "features": 9, "name": "mean"}), loss="discrete_nll")
    for name in ("dsmil", "transmil"):
        with pytest.raises(CheckpointError, match="not a " + name):
            load_published(path, Architecture(**{**SMALL, "name": name}), loss="discrete_nll")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="not readable"):
        load_published(path, Architecture(**SMALL), loss="discrete_nll")


def test_a_model_knows_how_its_outputs_are_read(tmp_path: Path) -> None:
    features, offsets = bags()
    held = Bags(("a", "b", "c"), features, offsets)
    network = model()
    with pytest.raises(ValueError, match="neither trained nor loaded"):
        predict([network], held)
    found = {}
    for loss in LOSSES:
        network.trained_with = TrainedWith(loss, "float32")
        save_model(tmp_path / f"{loss}.safetensors", network, {})
        loaded = load_model(tmp_path / f"{loss}.safetensors")
        assert loaded.reading() == TrainedWith(loss, "float32")
        found[loss] = predict([loaded], held)
        logits = network(features, offsets).logits
        expected = LOSSES[loss].hazard_and_risk(logits)[1].detach()
        torch.testing.assert_close(torch.from_numpy(found[loss].risk[0]), expected)
    assert len({tuple(of.risk[0]) for of in found.values()}) == len(LOSSES)
    others = [load_model(tmp_path / f"{loss}.safetensors") for loss in ("cox_nll", "discrete_nll")]
    with pytest.raises(ValueError, match="trained differently"):
        predict(others, held)


@pytest.mark.parametrize("wrong", [("nonsense", "float32"), ("cox_nll", "auto"), ("cox_nll", "bfloat61")])
def test_a_reading_has_known_names(wrong: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="is unknown"):
        TrainedWith(*wrong)
