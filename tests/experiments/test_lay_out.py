"""How many workers there are, and what each holds, on machines and clusters of several shapes."""

import pytest
import ray

from cropkt.errors import ConfigError
from cropkt.experiments.cluster import Workers, lay_out
from cropkt.experiments.config import RunConfig

LAPTOP = [{"CPU": 8.0}]
WORKSTATION = [{"CPU": 16.0, "GPU": 2.0}]
CLUSTER = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}]
SCALED_TO_NOTHING = [{"memory": 1e9}]


def laid_out(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], device: str, jobs: int, workers: int, address: str
) -> Workers:
    monkeypatch.setattr("cropkt.experiments.cluster.connect", lambda _: None)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    return lay_out(RunConfig(workers=workers, ray_address=address or None), device, jobs)


@pytest.mark.parametrize(
    ("nodes", "device", "jobs", "workers", "address", "expected"),
    [
        (LAPTOP, "cpu", 676, 0, "", Workers(8, 1, 0)),
        (LAPTOP, "cpu", 676, 2, "", Workers(2, 4, 0)),
        (LAPTOP, "cpu", 3, 0, "", Workers(3, 2, 0)),
        (WORKSTATION, "cuda", 676, 0, "", Workers(2, 1, 1.0)),
        (WORKSTATION, "cuda", 676, 3, "", Workers(3, 1, 0.5)),  # two thirds of a GPU each would fit two workers only
        (CLUSTER, "cpu", 676, 3, "auto", Workers(3, 2, 0)),  # eight CPUs by three is two: no node has room for more
        (CLUSTER, "cuda", 676, 0, "auto", Workers(2, 1, 1.0)),
        (SCALED_TO_NOTHING, "cuda", 676, 8, "auto", Workers(8, 1, 1.0)),
    ],
)
def test_every_worker_fits(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, float]],
    device: str,
    jobs: int,
    workers: int,
    address: str,
    expected: Workers,
) -> None:
    assert laid_out(monkeypatch, nodes, device, jobs, workers, address) == expected


def test_a_cluster_that_has_to_grow_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laid_out(monkeypatch, CLUSTER, "cuda", 676, 2, "auto")
    assert capsys.readouterr().err == ""
    laid_out(monkeypatch, CLUSTER, "cuda", 676, 8, "auto")
    assert "the cluster has 2 GPUs; waiting for it to grow to 8" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["", "auto"])
def test_no_gpu_at_all_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with pytest.raises(ConfigError, match="Ray sees no GPU"):
        laid_out(monkeypatch, LAPTOP, "cuda", 676, 0, address)
