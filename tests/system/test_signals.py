"""A sweep on this machine alone: who can reach it, and what SIGTERM leaves behind."""

import json
import os
import signal
from pathlib import Path

from processes import Script, descendants, wait_until
from small_sweeps import records, sweep_arguments

LISTENING = "0A"


def test_sigterm_ends_a_sweep_with_143_and_nobody_outside_could_reach_it(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = Script("sweep_transfer.py", *sweep_arguments(study, out), "--no-tracking")
    wait_until(lambda: len(records(out)) >= 3, script)
    workers = descendants(script.process.pid)
    addresses = listened_on({script.process.pid, *workers})
    assert addresses
    assert all(is_loopback(address) for address in addresses), addresses
    before = records(out)
    ended = script.kill(signal.SIGTERM)
    assert ended.code == 143, ended
    assert ended.err.splitlines()[-1] == "stopped by SIGTERM; run the same command again to go on from here"
    assert "Traceback" not in ended.err
    assert "SIGTERM received at time" not in ended.err  # the start of Ray's stack dump
    assert records(out).items() >= before.items(), "what was finished is lost"
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert not (out / "ray").exists()
    assert json.loads((out / "run.json").read_text())["runs"][-1]["exit_code"] == 143


def listened_on(pids: set[int]) -> set[str]:
    """Addresses (hexadecimal, as in /proc/net/tcp) on which these processes listen."""
    sockets = {target for pid in pids for target in open_files(pid) if target.startswith("socket:")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].partition(":")[0])
    return found


def open_files(pid: int) -> list[str]:
    try:
        return [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # it has just ended, or closed one
        return []


def is_loopback(address: str) -> bool:
    """127.0.0.1 or ::1, or 127.0.0.1 as an address of IPv6."""
    return address in ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
