"""Ray on this machine or on a running cluster: the one place that answers device, precision and workers."""

import gc
import logging
import math
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from joblib import cpu_count  # type: ignore[import-untyped]

from cropkt.data.bags import MOST_THREADS
from cropkt.data.streams.memory import budget
from cropkt.errors import ConfigError
from cropkt.experiments.command import own_sigterm
from cropkt.experiments.config import ClusterConfig
from cropkt.experiments.journal import voice

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
_LOCAL = {
    # Ray's switch for clusters on macOS and Windows; off, it keeps to 127.0.0.1, on Linux too.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "disabled",
}
"""Environment of a run on this machine alone."""
_LOOPBACK = ("127.0.0.1", "localhost")
_SOCKET_PATH = 107
"""Bytes of a Unix socket's path (sun_path in unix(7))."""
_BELOW_TEMPORARY = len("/session_2026-11-26_00-25-24_123456_1234567/sockets/plasma_store")
"""What Ray puts behind its temporary folder at the longest."""
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")

STARTS = 3
"""How often Ray is started on this machine: it gives itself 30 s, which are few where others compute."""


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


class Cluster:
    """The machines that a run works on. Ray is started, or connected to, when an answer first needs it."""

    def __init__(self, config: ClusterConfig, temporary: Path | None = None) -> None:
        """`temporary`: folder for Ray's own files on this machine, where its default cannot be used."""
        self._config = config
        self._temporary = temporary

    def connect(self) -> None:
        """Connect to the cluster that was named, or start Ray on this machine, if that has not been done.

        Raises ConfigError when the address does not answer, and when Ray takes too long to start.
        """
        import ray

        if ray.is_initialized():
            return
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # "token authentication is enabled"
        address, local = self._config.ray_address, self._config.ray_address is None
        level = logging.INFO if voice().verbose else logging.CRITICAL
        for attempt in range(STARTS):
            try:
                if address is not None:
                    _knock(address)
                with own_sigterm():
                    ray.init(
                        address=address or "local",
                        num_cpus=max(cpu_count(), self._config.workers) if local else None,
                        include_dashboard=False if local else None,
                        log_to_driver=voice().verbose,
                        logging_level=level,
                        _temp_dir=str(self._temporary) if local and self._temporary else None,
                    )
                break
            except (OSError, ValueError) as error:
                if local:
                    raise
                raise ConfigError(f"--ray-address {address}: no Ray cluster answers there ({error})") from error
            except Exception as error:  # Ray's own, of no other class
                if not local or "timed out" not in str(error):
                    raise
                ray.shutdown()
                load = f"{os.getloadavg()[0]:.0f} processes wait for its {cpu_count()} cores"
                late = f"Ray did not start in its 30 s on this machine, where {load}"
                if attempt + 1 == STARTS:
                    raise ConfigError(f"{late}, {STARTS} times in turn; run it again when less waits") from error
                print(f"warning: {late}; it is started again", file=sys.stderr)
        for name in ("ray", "ray.train", "ray.tune", "ray.data"):
            logging.getLogger(name).setLevel(level)

    @cached_property
    def device(self) -> str:
        """ "cpu" or "cuda". On a cluster "auto" goes by what Ray's nodes have, not by this machine.

        Raises ConfigError for "cuda" on this machine where torch finds none.
        """
        if self._config.ray_address is None:
            import torch

            there = torch.cuda.is_available()
            if self._config.device == "cuda" and not there:
                raise ConfigError("--device cuda: this machine has no CUDA device that torch can use; use --device cpu")
        if self._config.device != "auto":
            return self._config.device
        if self._config.ray_address is not None:
            self.connect()
            import ray

            there = ray.cluster_resources().get("GPU", 0) >= 1
        return "cuda" if there else "cpu"

    @cached_property
    def precision(self) -> str:
        """The precision "auto" stands for where the workers are."""
        from cropkt.models.precision import resolve_precision

        asked = self._config.precision
        if self._config.ray_address is None or asked != "auto":
            return resolve_precision(asked, self.device)
        self.connect()
        import ray

        ask = ray.remote(num_cpus=1, num_gpus=0.01 if self.device == "cuda" else 0)(resolve_precision)
        return str(ray.get(ask.remote(asked, self.device)))

    @cached_property
    def memory(self) -> int:
        """Bytes that patches may fill in each worker process: its part of the machine's, or the GPU's, budget."""
        asked, remote = self._config.memory, self._config.ray_address is not None
        if not remote:
            return max(1, budget(asked, self.device) // self._processes([cpu_count()], [_gpus_here()]))
        self.connect()
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
        ask = ray.remote(num_cpus=1, num_gpus=0.01 if self.device == "cuda" else 0)(budget)
        return max(1, int(ray.get(ask.remote(asked, self.device))) // self._processes(cpus, gpus))

    def _processes(self, cpus: Sequence[int], gpus: Sequence[int]) -> int:
        """The most workers that share the memory of a machine, or of a GPU, with these CPUs and GPUs a machine."""
        asked = self._config.workers
        if self.device == "cuda":
            return max(1, math.ceil(asked / max(1, sum(gpus))))
        largest = max(cpus, default=1)
        return max(1, asked if asked and len(cpus) == 1 else min(asked or largest, largest))

    def workers(self, jobs: int) -> Workers:
        """Worker processes for `jobs` independent jobs: one per GPU, or per CPU core, unless `--workers` differs.

        Raises ConfigError for "cuda" when Ray has no GPU and none will come: a cluster grows only with --ray-address
        and --workers.
        """
        self.connect()
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = [int(node.get("CPU", 0)) for node in nodes]
        gpus = [int(node.get("GPU", 0)) for node in nodes]
        workers = self._on_gpus(jobs, gpus, cpus) if self.device == "cuda" else self._on_cpus(jobs, cpus)
        for name, there, each in (("GPUs", gpus, workers.gpus), ("CPUs", cpus, workers.cpus)):
            if (needed := each * workers.count) > sum(there):
                print(f"the cluster has {sum(there)} {name}; waiting for it to grow to {needed:g}", file=sys.stderr)
        return workers

    def _on_gpus(self, jobs: int, gpus: Sequence[int], cpus: Sequence[int]) -> Workers:
        """Each with its share of a machine's cores, which read for it (see `read_bags`)."""
        if not sum(gpus) and not (self._config.ray_address and self._config.workers):
            raise ConfigError(
                "--device cuda: Ray sees no GPU on this machine or cluster; use --device cpu or, on a cluster that "
                "starts GPU workers when they are asked for, say how many: --workers 8"
            )
        count = max(1, min(self._config.workers or sum(gpus), jobs))
        # Beyond the GPUs there are, workers share them on one machine; a cluster is waited for.
        sharing = 1 if self._config.ray_address else math.ceil(count / sum(gpus))
        shares = [cores // (there * sharing) for cores, there in zip(cpus, gpus, strict=True) if there]
        return Workers(count, max(1, min([MOST_THREADS, *shares]) if shares else 1), 1 / sharing)

    def _on_cpus(self, jobs: int, cpus: Sequence[int]) -> Workers:
        count = max(1, min(self._config.workers or sum(cpus), jobs))
        fitting = [share for share in range(1, max(cpus, default=1) + 1) if sum(n // share for n in cpus) >= count]
        return Workers(count, max(fitting, default=1), 0)


@contextmanager
def session(config: ClusterConfig) -> Iterator[Cluster]:
    """The cluster of a run. Ray is disconnected at the end, if it was connected in the block.

    Without an address everything listens on 127.0.0.1 alone, and nothing is kept in the home folder.
    """
    _set_environment(local=config.ray_address is None)
    before = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    with _short_folder() as temporary:
        try:
            yield Cluster(config, temporary)
        finally:
            if not before and "ray" in sys.modules:
                sys.modules["ray"].shutdown()


def spare_the_collector() -> None:
    """Take what a worker has imported out of what Python's garbage collector looks through.

    While workers have all cores and more work waits, Ray takes it for a deadlock and has every process collect garbage
    each ten seconds: half a second for the half million objects of the libraries, a tenth of a worker's time.
    """
    gc.collect()
    gc.freeze()


def _set_environment(*, local: bool) -> None:
    """Before Ray is imported anywhere: some of it is read only then."""
    own = dict(_LOCAL) if local else {}
    for name, value in (_ENVIRONMENT | own).items():
        os.environ.setdefault(name, value)
    for name in ("no_proxy", "NO_PROXY"):
        known = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*known, *(host for host in _LOOPBACK if host not in known)])


@contextmanager
def _short_folder() -> Iterator[Path | None]:
    """A folder for Ray's own files whose path is short enough for its sockets; None where Ray's default is. Removed at
    the end."""
    default = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
    if len(os.fsencode(default)) + _BELOW_TEMPORARY <= _SOCKET_PATH:
        yield None
        return
    place = next((path for path in _SHORT_FOLDERS if os.access(path, os.W_OK | os.X_OK)), None)
    if place is None:
        raise ConfigError(
            f"TMPDIR is {default.parent}: too long for Ray's sockets, whose paths hold {_SOCKET_PATH} bytes; set "
            "RAY_TMPDIR to a shorter folder on this machine's own disk"
        )
    folder = Path(tempfile.mkdtemp(prefix="cropkt-", dir=place))
    print(f"Ray's own files are in {folder}: TMPDIR is too long for its sockets", file=sys.stderr)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count()


def _knock(address: str) -> None:
    """Raise OSError when nobody listens at `address`, where it names a host and port: Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].partition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()
