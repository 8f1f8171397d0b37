"""slurm/cropkt.sbatch, with SLURM's commands played by small scripts: what it asks for, and that it goes on."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from ray.scripts.scripts import cli

SCRIPT = Path(__file__).resolve().parents[2] / "slurm" / "cropkt.sbatch"
PLAYED = {
    "srun": 'echo "srun $* on $SRUN_CPUS_PER_TASK of $LOKY_MAX_CPU_COUNT" >> "$ASKED"; exit "$SRUN_ENDS"',
    "scontrol": 'echo "scontrol $*" >> "$ASKED"; [ "$1" = show ] && printf "node1\\nnode2\\n"; exit 0',
}


def job(tmp_path: Path, ends: int, nodes: int = 2) -> tuple[int, list[str]]:
    """(exit code, commands asked for) of the script on so many nodes, whose srun ends with this code."""
    for name, body in PLAYED.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_CPUS_PER_TASK": "16"}
    slurm |= {"SLURM_JOB_ID": "7", "ASKED": str(tmp_path / "asked"), "SRUN_ENDS": str(ends)}
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", str(SCRIPT), "--study", "my study", "--device", "cuda"]
    ended = subprocess.run(command, env=os.environ | slurm | path, timeout=60, check=False)
    return ended.returncode, (tmp_path / "asked").read_text().splitlines()


def test_ray_starts_on_every_node_and_the_sweep_on_the_first(tmp_path: Path) -> None:
    code, asked = job(tmp_path, ends=0)
    assert code == 0
    assert asked == [
        "scontrol show hostnames node[1-2]",
        """srun bash -c trap "" TERM; exec ray symmetric-run "$@" ray --address node1:6379 --min-nodes 2 """
        "--num-cpus 16 --include-dashboard=false -- cropkt sweep --ray-address auto --study my study --device cuda "
        "on 16 of 16",
    ]


def test_one_node_may_be_shared_so_that_its_ray_is_its_own(tmp_path: Path) -> None:
    """`ray symmetric-run` starts none where another job's Ray runs, and ends all of the node's when it is done."""
    code, asked = job(tmp_path, ends=0, nodes=1)
    assert (code, asked) == (0, ["srun cropkt sweep --study my study --device cuda on 16 of 16"])


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(("ends", "again"), [(143, True), (1, False), (2, False)])
def test_only_a_run_that_the_walltime_stopped_is_queued_again(
    tmp_path: Path, ends: int, again: bool, nodes: int
) -> None:
    code, asked = job(tmp_path, ends, nodes)
    assert code == ends
    assert ("scontrol requeue 7" in asked) is again


def test_the_pinned_ray_has_the_command_and_its_flags() -> None:
    symmetric_run, start = cli.commands["symmetric-run"], cli.commands["start"]
    known = {flag for command in (symmetric_run, start) for item in command.params for flag in item.opts}
    used = re.findall(r"(--[a-z-]+)", SCRIPT.read_text().partition("exec ray symmetric-run")[2].partition(" -- ")[0])
    assert used
    assert set(used) <= known
