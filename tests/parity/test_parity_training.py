"""Training against the published runs (parity/README.md, training.json): same start, same order, same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cropkt.data.bags import Bags
from cropkt.errors import ConfigError
from cropkt.models.mil import Architecture, MILModel, build_model
from cropkt.models.predict import predict
from cropkt.survival.losses import SurvivalTargets
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds
from cropkt.training.optimiser import build_optimiser, learning_rate


def configuration(config: dict) -> TrainingConfig:
    return TrainingConfig(
        epochs=config["epochs"],
        bags_per_update=config["bp_every_batch"],
        learning_rate=config["opt_lr"],
        weight_decay=config["opt_weight_decay"],
        schedule=config["lrs_name"],
        warmup_epochs=config["lrs_warmup_epochs"],
        censored_weight=config["loss_survmle_alpha"],
        drop_partial_update=True,
    )


def start_model(tensors: dict[str, torch.Tensor], config: dict) -> MILModel:
    model = build_model(
        Architecture(
            features=config["deepmil_dim_in"],
            embedding=config["deepmil_dim_emb"],
            attention=config["deepmil_dim_attn"],
            intervals=config["deepmil_num_cls"],
            dropout=config["deepmil_drop_rate"],
        )
    )
    model.load_state_dict(weights(tensors, "start_abmil"))
    return model


def weights(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix + "/"): value for name, value in tensors.items() if name.startswith(prefix + "/")}


def all_bags(patients: list[dict], tensors: dict[str, torch.Tensor]) -> tuple[Bags, SurvivalTargets]:
    parts = [torch.cat([tensors[f"slide/{slide}"] for slide in patient["slides"]]) for patient in patients]
    offsets = torch.tensor([0, *map(len, parts)]).cumsum(0)
    names = tuple(patient["patient_id"] for patient in patients)
    targets = SurvivalTargets(*(torch.tensor([patient[key] for patient in patients]) for key in ("t", "e", "bin")))
    return Bags(names, torch.cat(parts), offsets, ()), targets


def test_training_reproduces_the_published_runs(parity: Path) -> None:
    content = json.loads((parity / "training.json").read_text())
    tensors = load_file(parity / "training.safetensors")
    bags, targets = all_bags(content["patients"], tensors)
    where = {patient: index for index, patient in enumerate(bags.patients)}
    runs = [run for run in content["runs"] if run["model"] == "abmil"]
    assert runs
    for run in runs:
        config = configuration(run["config"])
        order = [np.array([where[patient] for patient in epoch]) for epoch in run["order"]]
        train = np.array([where[patient] for patient in content["train"]])
        job = FoldTraining(0, start_model(tensors, run["config"]), train)
        train_folds([job], bags, targets, config, seed=0, stream="parity", order=lambda epoch: order[epoch])  # noqa: B023

        assert job.rates == pytest.approx([update["lr"] for update in run["updates"]], abs=1e-12), run["name"]
        assert job.losses == pytest.approx([update["loss"] for update in run["updates"]], abs=1e-5), run["name"]
        final = weights(tensors, f"final_{run['name']}")
        assert final
        for name, value in job.model.state_dict().items():
            if name != "attention_net.attention_c.bias":  # cannot matter (softmax): its gradient is rounding noise
                torch.testing.assert_close(value, final[name], atol=1e-5, rtol=0, msg=f"{run['name']}: {name}")
        test = [where[patient] for patient in run["test_patient"]]
        assert predict([job.model], bags.take(test)).risk[0] == pytest.approx(run["test_risk"], abs=1e-5)


def test_weight_decay_spares_what_the_published_code_spares(parity: Path) -> None:
    content = json.loads((parity / "training.json").read_text())
    tensors = load_file(parity / "training.safetensors")
    for run in (run for run in content["runs"] if run["model"] == "abmil"):
        model = start_model(tensors, run["config"])
        names = {id(value): name for name, value in model.named_parameters()}
        decaying, plain = build_optimiser(model, configuration(run["config"])).param_groups
        assert {names[id(value)] for value in decaying["params"]} == set(run["parameters_with_decay"])
        assert {names[id(value)] for value in plain["params"]} == set(run["parameters_without_decay"])
        assert plain["weight_decay"] == 0
        assert decaying["weight_decay"] == run["config"]["opt_weight_decay"]


def test_learning_rates_follow_the_published_schedule(parity: Path) -> None:
    cases = json.loads((parity / "training.json").read_text())["learning_rates"]
    assert cases
    for case in cases:
        config = TrainingConfig(epochs=case["epochs"], bags_per_update=case["accumulate"], drop_partial_update=True)
        if case["updates_per_epoch"] == 0:  # here the published run ends with an error
            with pytest.raises(ConfigError, match=f"{case['patients']} training bags"):
                config.updates_per_epoch(case["patients"])
            continue
        per_epoch = config.updates_per_epoch(case["patients"])
        assert per_epoch == case["updates_per_epoch"]
        rates = [learning_rate(update, per_epoch, config) for update in range(len(case["lr"]))]
        assert rates == pytest.approx(case["lr"], abs=1e-12)
