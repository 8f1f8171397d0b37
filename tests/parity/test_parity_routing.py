"""Router and fusions against the published code's outputs (parity/README.md, roupkt.json)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_parity_training import all_bags, configuration, weights
from torch import nn

from cropkt.models.fusion import FusionSettings, build_fusion
from cropkt.models.router import Router, RouterSettings, routing_penalty
from cropkt.survival.losses import LOSSES
from cropkt.survival.losses.discrete_nll import discrete_nll
from cropkt.training.loop import FoldTraining, train_folds


def router(config: dict, prefix: str = "") -> Router:
    get = {name.removeprefix(prefix): value for name, value in config.items()}
    settings = RouterSettings(
        embedding=get["dim_emb"],
        attention=get["dim_attn"],
        dropout=get["drop_rate"],
        top_k=get["expert_topk"],
        expert_network=get["expert_network"].lower(),
        balance_over="bag",
    )
    return Router(
        settings,
        width=get["dim_in"],
        n_experts=get["expert_size"],
        vector=get["dim_emb"],
        intervals=get["num_cls"],
    )


def load(model: nn.Module, tensors: dict[str, torch.Tensor], name: str) -> None:
    model.load_state_dict(weights(tensors, name))
    model.eval()


def close(found: torch.Tensor, expected: list, tolerance: float, what: str) -> None:
    torch.testing.assert_close(
        found.double(), torch.tensor(expected, dtype=torch.float64), atol=tolerance, rtol=0, msg=what
    )


def test_routers_match_the_published_code(parity: Path) -> None:
    cases = json.loads((parity / "roupkt.json").read_text())["models"]
    tensors = load_file(parity / "roupkt.safetensors")
    assert cases
    for case in cases:
        model = router(case["config"])
        load(model, tensors, case["name"])
        for output in case["outputs"]:
            bag, vectors = tensors[output["bag"]], tensors[output["experts"]][None]
            offsets = torch.tensor([0, len(bag)])
            with torch.inference_mode():
                close(model.float().route(bag, offsets, vectors).logits[0], output["logits"], 1e-5, case["name"])
            found = model.double().route(bag.double(), offsets, vectors.double())
            close(found.logits[0], output["logits"], 1e-9, case["name"])
            close(found.probabilities[0], output["probabilities"], 1e-9, case["name"])
            close(found.router_logits[0], output["router_logits"], 1e-9, case["name"])
            close(found.representation[0], output["representation"], 1e-9, case["name"])
            close(found.gates[0, output["top_k_index"]], output["top_k_gate"], 1e-9, case["name"])
            assert int((found.gates > 0).sum()) == len(output["top_k_index"])
            close(LOSSES["discrete_nll"].hazard_and_risk(found.logits)[0][0], output["hazard"], 1e-9, case["name"])


def test_loss_and_gradients_of_a_router_match_the_published_code(parity: Path) -> None:
    content = json.loads((parity / "roupkt.json").read_text())["models"]
    tensors = load_file(parity / "roupkt.safetensors")
    for case in content:
        for output in case["outputs"]:
            model = router(case["config"])
            load(model, tensors, case["name"])
            model.double().train()
            bag, vectors = tensors[output["bag"]].double(), tensors[output["experts"]][None].double()
            found, expected = model.route(bag, torch.tensor([0, len(bag)]), vectors), output["train"]
            interval, event = torch.tensor([expected["bin"]]), torch.tensor([expected["event"]])
            loss = discrete_nll(found.logits, interval, event, alpha=0.5, eps=1e-7).mean()
            total = loss + routing_penalty(found, model.settings)
            assert loss.item() == pytest.approx(expected["survival_loss"], rel=1e-9)
            assert total.item() == pytest.approx(expected["total_loss"], rel=1e-9)
            total.backward()
            norms = {name: float(value.grad.norm()) for name, value in model.named_parameters()}
            assert norms == pytest.approx(expected["gradient_norm"], rel=1e-7, abs=1e-10)


def test_fusions_match_the_published_code(parity: Path) -> None:
    cases = json.loads((parity / "roupkt.json").read_text())["fusion"]
    tensors = load_file(parity / "roupkt.safetensors")
    assert cases
    for case in cases:
        config = case["config"]
        projection, kind = config["proj_layer"].lower(), config["mff"]
        settings = FusionSettings(kind, projection, config["dim_attn"], config["drop_rate"], released_gru=True)
        model = build_fusion(settings, n_experts=6, vector=config["dim_emb"], intervals=config["num_cls"])
        load(model, tensors, case["name"])
        if case["dtype"] == "float64":
            model = model.double()
        for output in case["outputs"]:
            vectors = tensors[output["experts"]][None].to(model.pred_head.weight.dtype)
            with torch.inference_mode():
                found = model(vectors)
            tolerance = 1e-9 if case["dtype"] == "float64" else 1e-5
            close(found.logits[0], output["logits"], tolerance, case["name"])
            close(found.representation[0], output["representation"], tolerance, case["name"])
            if output["attention"] is not None:
                close(found.weights[0], output["attention"], tolerance, case["name"])


def test_training_a_router_reproduces_the_published_run(full_parity: Path) -> None:
    parity = full_parity
    content = json.loads((parity / "training.json").read_text())
    tensors = load_file(parity / "training.safetensors")
    bags, targets = all_bags(content["patients"], tensors)
    where = {patient: index for index, patient in enumerate(bags.patients)}
    vectors = torch.stack([torch.cat([tensors[f"own/{p}"][None], tensors[f"others/{p}"]]) for p in bags.patients])
    (run,) = (run for run in content["runs"] if run["model"] == "roupkt")
    model = router(run["config"], "moetfl_")
    load(model, tensors, "start_roupkt")
    penalties = []

    def forward(batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        part = bags.take(batch)
        output = model.route(part.features, part.offsets, vectors[batch])
        penalty = routing_penalty(output, model.settings)
        penalties.append(penalty.item())
        return output.logits, penalty

    order = [np.array([where[patient] for patient in epoch]) for epoch in run["order"]]
    train = np.array([where[patient] for patient in content["train"]])
    job = FoldTraining(0, model, train, forward)
    config = configuration(run["config"])
    train_folds([job], bags, targets, config, seed=0, stream="parity", order=lambda epoch: order[epoch])
    assert job.rates == pytest.approx([update["lr"] for update in run["updates"]], abs=1e-12)
    assert penalties == pytest.approx([u["aux_loss"] for u in run["updates"]], abs=1e-5)
    losses = [loss + penalty for loss, penalty in zip(job.losses, penalties, strict=True)]
    assert losses == pytest.approx([update["loss"] for update in run["updates"]], abs=1e-5)
    final = weights(tensors, "final_roupkt")
    for name, value in model.state_dict().items():
        if name != "attention_net.attention_c.bias":  # cannot matter (softmax): its gradient is rounding noise
            torch.testing.assert_close(value, final[name], atol=1e-5, rtol=0, msg=name)
    test = np.array([where[patient] for patient in run["test_patient"]])
    part = bags.take(test)
    with torch.inference_mode():
        logits = model.route(part.features, part.offsets, vectors[test]).logits
    assert LOSSES["discrete_nll"].hazard_and_risk(logits)[1].numpy() == pytest.approx(run["test_risk"], abs=1e-5)
