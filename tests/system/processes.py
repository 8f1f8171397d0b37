"""Real processes: scripts run as a user runs them, and the workers they start, found to be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 400
"""Seconds to wait for what has to happen, on a busy machine."""


@dataclass(frozen=True)
class Ended:
    """How a script ended."""

    code: int
    out: str
    err: str


class Script:
    """A script of ours at work."""

    def __init__(self, name: str, *arguments: str | Path | int) -> None:
        command = [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        self.process = subprocess.Popen(
            command, cwd=ROOT.anchor, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def end(self) -> Ended:
        """Wait for it to end by itself."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end: {self.break_off()}")
        return Ended(self.process.returncode, out, err)

    def break_off(self) -> Ended:
        """Kill it after a failure, so that it does not hold the cluster that other tests need."""
        self.process.kill()
        out, err = self.process.communicate()
        return Ended(self.process.returncode, out, err)

    def kill(self, number: int = signal.SIGKILL) -> Ended:
        """Send it a signal, and wait for its end."""
        self.process.send_signal(number)
        return self.end()


def run(name: str, *arguments: str | Path | int) -> Ended:
    """Run a script to its end."""
    return Script(name, *arguments).end()


def wait_until(happened: Callable[[], object], script: Script | None = None) -> None:
    """Wait until `happened()`; fails when `script` ends first, or it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        late = time.monotonic() > deadline
        if late or (script is not None and script.process.poll() is not None):
            pytest.fail(f"{'it did not happen' if late else 'the script ended first'}: {script and script.break_off()}")
        time.sleep(0.005)


def descendants(pid: int) -> dict[int, str]:
    """Living processes that `pid` has started, at any remove, with their titles."""
    parents = {int(path.name): parent for path in Path("/proc").glob("[0-9]*") if (parent := _parent(path))}
    found: dict[int, str] = {}
    added = {pid}
    while added:
        added = {child for child, parent in parents.items() if parent in added}
        found |= {child: _title(child) for child in added}
    return found


def kill_worker(titles: tuple[str, ...], below: int) -> None:
    """Kill one process whose title holds one of `titles`, among those that process `below` has started."""
    pids = [pid for pid, found in descendants(below).items() if any(title in found for title in titles)]
    assert pids, descendants(below)
    os.kill(pids[0], signal.SIGKILL)


def _parent(path: Path) -> int | None:
    try:
        state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state == "Z" else int(parent)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
