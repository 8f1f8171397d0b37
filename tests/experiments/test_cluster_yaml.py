"""cluster.yaml is what Ray's autoscaler takes. That a cloud takes it too, only a cloud can say."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_it_is_valid_against_rays_schema(cluster: dict[str, Any]) -> None:
    schema = json.loads((files("ray.autoscaler") / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster | {"max_wrokers": 1}, schema)


def test_ray_can_prepare_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(cluster))


def test_a_cpu_head_and_gpu_workers_that_come_and_go(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    workers = [node for name, node in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    assert "GPU" not in head["resources"]
    assert workers
    assert all(node["resources"]["GPU"] == 1 and node["min_workers"] == 0 for node in workers)
    assert all(0 < node["max_workers"] <= cluster["max_workers"] for node in workers)
    assert all(node["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for node in workers)
    assert cluster["idle_timeout_minutes"] <= 15


def test_what_it_copies_and_runs_is_there(cluster: dict[str, Any]) -> None:
    text = (ROOT / "cluster.yaml").read_text()
    assert "scripts/sweep_transfer.py" in text
    assert (ROOT / "scripts" / "sweep_transfer.py").exists()
    assert "constraints.txt" in text
    assert (ROOT / "constraints.txt").exists()
    started = cluster["head_start_ray_commands"]
    assert any("ray start --head" in line and "--autoscaling-config" in line for line in started)
    assert any("mlflow server" in line for line in started)
    assert any("--address=$RAY_HEAD_IP" in line for line in cluster["worker_start_ray_commands"])
