"""Run the mutations of wiring.py: each breaks a copy of the code in one place, and the tests named beside it must fail.

    python tests/mutations/run.py                   all of them; exit code 1 when one survives without a reason
    python tests/mutations/run.py --only NAME ...   some of them, by name or by the file (or folder) they break
    python tests/mutations/run.py --list            what there is, and why it matters

Only a copy in a temporary folder is ever changed. The tests named have to pass there first, so that a mutation is not
"killed" by a test that fails anyway.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mutation import ROOT, Mutation
from wiring import MUTATIONS

COPIED = ("cropkt", "scripts", "tests", "tune_spaces", "pyproject.toml", "cluster.yaml", "Makefile")
LONGEST = 300
"""Seconds of processor time after which tests are stopped: a mutation that makes a program hang is noticed. One that
makes it wait is noticed by pytest's own limit per test."""
FAILED = 1
"""pytest's exit code when tests ran and some failed; any other but 0 says that they did not run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 when every mutation was killed, or survives with a reason."""
    parser = argparse.ArgumentParser(description="Break the code in small ways and see the tests fail.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone: names, files or folders of cropkt/")
    parser.add_argument("--list", action="store_true", help="print the mutations and run none")
    asked = parser.parse_args(arguments)
    wanted = {name: [one for one in MUTATIONS if one.is_called(name)] for name in asked.only or ()}
    if unknown := [name for name, found in wanted.items() if not found]:
        parser.error(f"no mutation {', '.join(unknown)}; see --list")
    chosen = list(dict.fromkeys(one for found in wanted.values() for one in found)) or MUTATIONS
    if asked.list:
        for mutation in chosen:
            print(f"{mutation.name:40s} {mutation.file}: {mutation.why}")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        return run(chosen, Path(folder))


def run(mutations: Sequence[Mutation], folder: Path) -> int:
    """Run `mutations` on a copy of the tree in `folder`, and print what became of each."""
    _copy(folder)
    everything = list(dict.fromkeys(test for mutation in mutations for test in mutation.tests))
    code, seconds = _pytest(folder, everything)
    if code:
        print(f"the tests fail without a mutation (pytest's exit code {code}); mend them first")
        return 1
    print(f"{'unmutated':40s} passes {seconds:6.1f} s")
    alive = []
    for mutation in mutations:
        with _mutated(folder, mutation):
            code, seconds = _pytest(folder, mutation.tests)
        fate = _fate(mutation, code)
        alive += [mutation.name] if fate in ("SURVIVED", "BROKEN") else []
        print(f"{mutation.name:40s} {fate:8s} {seconds:5.1f} s  {mutation.harmless}", flush=True)
    print(f"{len(mutations) - len(alive)} of {len(mutations)} killed or harmless")
    if alive:
        print(f"not killed: {', '.join(alive)}")
    return 1 if alive else 0


def _fate(mutation: Mutation, code: int) -> str:
    if code == FAILED or code < 0:  # below 0: stopped by a signal, of the limit among others
        return "killed"
    if code:
        return "BROKEN"  # nothing was tested: the mutated code cannot be imported
    return "harmless" if mutation.harmless else "SURVIVED"


def _copy(folder: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=skipped)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)


@contextmanager
def _mutated(folder: Path, mutation: Mutation) -> Iterator[None]:
    path = folder / mutation.file
    before = path.read_text()
    path.write_text(mutation.applied_to(before))
    try:
        yield
    finally:
        path.write_text(before)


def _pytest(folder: Path, tests: Iterable[str]) -> tuple[int, float]:
    """pytest's exit code, and the processor time it took."""
    # Two versions of a file may have the same size and second, by which Python tells bytecode from yesterday's.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--durations=0", *tests]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, preexec_fn=_limit, check=False
    ).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return code, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))


if __name__ == "__main__":
    sys.exit(main())
