"""One small study, one Ray cluster, and one undisturbed sweep that all disturbed ones have to equal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import run
from small_studies import write_study
from small_sweeps import COHORTS, Undisturbed, sweep_arguments

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.timeout(900))  # a busy machine is slow, and no reason to fail


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of five cohorts of 12 patients."""
    return write_study(tmp_path_factory.mktemp("system") / "study", *COHORTS).folder


@pytest.fixture(scope="session")
def cluster() -> "Iterator[Cluster]":
    """A Ray cluster of one node with two CPUs, as `ray start --head` makes it. This process is not connected to it."""
    with ray_cluster(cpus=2) as cluster:
        yield cluster


@pytest.fixture
def mortal_cluster() -> "Iterator[Cluster]":
    """A cluster for a test that takes a node away: for some 10 s after that Ray still gives the dead node work, and
    what starts in that time may wait for it for ever."""
    with ray_cluster(cpus=2) as cluster:
        yield cluster


@contextmanager
def ray_cluster(cpus: int) -> "Iterator[Cluster]":
    os.environ.setdefault("RAY_worker_niceness", "0")  # as a run's own; else workers starve beside other programs
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture(scope="session")
def undisturbed(study: Path, cluster: "Cluster", tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Trains and sweeps the study on the cluster, baselines and MLflow included."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    return Undisturbed(out, run("sweep_transfer.py", *sweep_arguments(study, out), "--ray-address", cluster.address))
