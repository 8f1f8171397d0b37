"""Ray on this machine or on a running cluster, and how the work is laid out on it."""

import logging
import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from joblib import cpu_count  # type: ignore[import-untyped]

from cropkt.errors import ConfigError
from cropkt.experiments.config import RunConfig

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # 2 s by default, which every start and round would wait for
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "3600",  # an autoscaled cluster takes minutes to grow
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_worker_niceness": "0",  # 15 by default: beside anything else on the machine, workers would hardly run
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}


@dataclass(frozen=True)
class Workers:
    """How many worker processes, and what each of them holds."""

    count: int
    cpus: float
    gpus: float

    @property
    def resources(self) -> dict[str, float]:
        """What Ray is asked for, for each of them."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


@contextmanager
def ray_session() -> Iterator[None]:
    """Whatever Ray is connected to in the block, as soon as there is work for it, is let go of at the end."""
    # Before Ray is imported anywhere: some of it is read only then.
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    before = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    try:
        yield
    finally:
        if not before and "ray" in sys.modules:
            sys.modules["ray"].shutdown()


def connect(config: RunConfig) -> None:
    """Connect to `config.ray_address`, or start Ray on this machine, if that has not been done.

    Raises ConfigError when the address does not answer.
    """
    local = config.ray_address is None
    import ray

    if ray.is_initialized():
        return
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # "token authentication is enabled"
    try:
        if config.ray_address is not None:
            _knock(config.ray_address)
        ray.init(
            address=config.ray_address or "local",
            num_cpus=max(cpu_count(), config.workers) if local else None,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except (OSError, ValueError) as error:
        if local:
            raise
        raise ConfigError(f"--ray-address {config.ray_address}: no Ray cluster answers there ({error})") from error
    for name in ("ray", "ray.train", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _knock(address: str) -> None:
    """Raise OSError when nobody listens at `address`, where it names a host and port: Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].partition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def lay_out(config: RunConfig, device: str, jobs: int) -> Workers:
    """Worker processes for `jobs` independent jobs: one a GPU, or one a CPU core, unless `--workers` says otherwise.

    Raises ConfigError for "cuda" where Ray has no GPU, and may not be waited for to get some (`--workers`).
    """
    connect(config)
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    if device == "cuda":
        if not sum(gpus) and not (config.ray_address and config.workers):
            raise ConfigError(
                "--device cuda: Ray sees no GPU on this machine or cluster; use --device cpu or, on a cluster that "
                "starts GPU workers when they are asked for, say how many: --workers 8"
            )
        count = max(1, min(config.workers or sum(gpus), jobs))
        # Beyond the GPUs there are, workers share them on one machine; a cluster is waited for.
        sharing = 1 if config.ray_address else math.ceil(count / sum(gpus))
        workers = Workers(count, 1, 1 / sharing)
    else:
        count = max(1, min(config.workers or sum(cpus), jobs))
        fitting = [share for share in range(1, max(cpus, default=1) + 1) if sum(n // share for n in cpus) >= count]
        workers = Workers(count, max(fitting, default=1), 0)
    for name, there, needed in (("GPUs", gpus, workers.gpus * count), ("CPUs", cpus, workers.cpus * count)):
        if needed > sum(there):
            print(f"the cluster has {sum(there)} {name}; waiting for it to grow to {needed:g}", file=sys.stderr)
    return workers


def choose_device(config: RunConfig) -> str:
    """ "cpu" or "cuda". On a cluster "auto" goes by what Ray's nodes have, not by this machine."""
    if config.device != "auto":
        return config.device
    if config.ray_address is None:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    connect(config)
    import ray

    return "cuda" if ray.cluster_resources().get("GPU", 0) >= 1 else "cpu"


def choose_precision(config: RunConfig, device: str) -> str:
    """The precision "auto" stands for where the workers are."""
    from cropkt.models.precision import resolve_precision

    if config.ray_address is None or config.precision != "auto":
        return resolve_precision(config.precision, device)
    connect(config)
    import ray

    ask = ray.remote(num_cpus=1, num_gpus=0.01 if device == "cuda" else 0)(resolve_precision)
    return str(ray.get(ask.remote(config.precision, device)))
