"""How many workers there are, and what each holds, on machines and clusters of several shapes."""

import pytest
import ray
import torch

from cropkt.errors import ConfigError
from cropkt.experiments.cluster import Cluster, Workers
from cropkt.experiments.config import ClusterConfig

LAPTOP = [{"CPU": 8.0}]
WORKSTATION = [{"CPU": 16.0, "GPU": 2.0}]
CLUSTER = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}]
SCALED_TO_NOTHING = [{"memory": 1e9}]


def laid_out(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], device: str, jobs: int, workers: int, address: str
) -> Workers:
    monkeypatch.setattr(Cluster, "connect", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    return Cluster(ClusterConfig(device, workers=workers, ray_address=address or None)).workers(jobs)


@pytest.mark.parametrize(
    ("nodes", "device", "jobs", "workers", "address", "expected"),
    [
        (LAPTOP, "cpu", 676, 0, "", Workers(8, 1, 0)),
        (LAPTOP, "cpu", 676, 2, "", Workers(2, 4, 0)),
        (LAPTOP, "cpu", 3, 0, "", Workers(3, 2, 0)),
        (WORKSTATION, "cuda", 676, 0, "", Workers(2, 4, 1.0)),
        (WORKSTATION, "cuda", 676, 3, "", Workers(3, 4, 0.5)),  # two thirds of a GPU each would fit two workers only
        (CLUSTER, "cpu", 676, 3, "auto", Workers(3, 2, 0)),  # eight CPUs by three is two: no node has room for more
        (CLUSTER, "cuda", 676, 0, "auto", Workers(2, 4, 1.0)),
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


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, expected: str) -> None:
    monkeypatch.setattr(Cluster, "connect", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert Cluster(ClusterConfig()).device == expected
    # On a cluster its nodes decide, whatever this machine has.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: not there)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": float(there)})
    assert Cluster(ClusterConfig(ray_address="auto")).device == expected


def test_cuda_is_refused_where_torch_finds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="this machine has no CUDA device"):
        _ = Cluster(ClusterConfig("cuda")).device
    assert Cluster(ClusterConfig("cuda", ray_address="auto")).device == "cuda"


@pytest.mark.parametrize(("late", "ended"), [(0, ""), (2, ""), (3, "3 times in turn")])
def test_ray_that_is_late_is_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], late: int, ended: str
) -> None:
    starts: list[int] = []

    def init(**_: object) -> None:
        starts.append(1)
        if len(starts) <= late:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    if ended:
        with pytest.raises(ConfigError, match=ended):
            Cluster(ClusterConfig("cpu")).connect()
    else:
        Cluster(ClusterConfig("cpu")).connect()
    assert len(starts) == min(late + 1, 3)
    assert capsys.readouterr().err.count("it is started again") == min(late, 2)
