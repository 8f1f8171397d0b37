"""MIL models against the published code's outputs (parity/README.md, abmil.json)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cropkt.models.checkpoint import load_published
from cropkt.models.mil import Architecture, MILModel, build_model, forward_together

OURS = {
    "gated_attention": "abmil",
    "attention": "abmil_ungated",
    "mean": "mean",
    "max": "max",
    "DSMIL": "dsmil",
    "TransMIL": "transmil",
}


def load(folder: Path, case: dict) -> MILModel:
    config = case["config"]
    architecture = Architecture(
        features=config["dim_in"],
        name=OURS[config.get("pooling", case["network"])],
        embedding=config["dim_emb"],
        attention=config["dim_attn"],
        intervals=config["num_cls"],
        projection_layers=max(1, config["num_feat_proj_layers"]),
    )
    model = build_model(architecture)
    model.load_state_dict(load_file(folder / case["file"]))
    return model.eval()


def test_models_match_the_published_code(parity: Path) -> None:
    cases = json.loads((parity / "abmil.json").read_text())["models"]
    assert {"mean", "dsmil", "transmil"} <= {case["name"] for case in cases}
    tensors = load_file(parity / "bags.safetensors")
    for case in cases:
        outputs = case["outputs"]
        bags = [tensors[output["bag"]] for output in outputs]
        offsets = torch.tensor([0, *map(len, bags)]).cumsum(0)
        single = load(parity, case)
        with torch.inference_mode():
            float32 = single(torch.cat(bags), offsets)
            model = single.double()
            exact = model(torch.cat(bags).double(), offsets)
            wide = forward_together([model, model], torch.cat(bags).double(), offsets)[1]
        for bag, expected in enumerate(outputs):
            own = slice(offsets[bag], offsets[bag + 1])
            for found in (exact, wide):
                close(found.logits[bag], expected["logits"], 1e-9, case)
                if expected["representation"] is not None:  # dsmil has none
                    close(found.representation[bag], expected["representation"], 1e-9, case)
                if expected["attention"] is not None:
                    close(found.attention[own], expected["attention"], 1e-9, case)
            close(float32.logits[bag], expected["logits_float32"], 3e-6, case)


def close(found: torch.Tensor, expected: list[float], tolerance: float, case: dict) -> None:
    wanted = torch.tensor(expected, dtype=found.dtype)
    assert found.shape == wanted.shape, case["name"]
    assert float((found - wanted).abs().max()) <= tolerance, case["name"]


def test_a_published_checkpoint_loads(full_parity: Path) -> None:
    run = next(
        run for run in json.loads((full_parity / "training.json").read_text())["runs"] if run["name"] == "accumulate_4"
    )
    config = run["config"]
    model = load_published(
        full_parity / "train_model-last.pth",
        Architecture(
            features=config["deepmil_dim_in"],
            embedding=config["deepmil_dim_emb"],
            attention=config["deepmil_dim_attn"],
            intervals=config["deepmil_num_cls"],
        ),
        loss="discrete_nll",
    )
    norms = {name: float(value.detach().norm()) for name, value in model.named_parameters()}
    assert norms == pytest.approx(run["final_norm"], abs=1e-5)
