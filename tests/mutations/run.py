"""Run the mutations of wiring.py: each breaks a copy of the code in one place, and the tests named beside it must fail.

    python tests/mutations/run.py                   all of them; exit code 1 when one survives without a reason
    python tests/mutations/run.py --only NAME ...   some of them, by name or by the file (or folder) they break
    python tests/mutations/run.py --list            what there is, and why it matters
    python tests/mutations/run.py --results FILE    keep each result in FILE, and go on there after a stop

Only a copy in a temporary folder is ever changed. The tests that a mutation names have to pass there first, so that it
is not "killed" by a test that fails anyway. A result in FILE counts as long as the mutation, the file it breaks and the
files of its tests are as they were.

Most of a short test's time is spent on importing torch, pandas and Ray. So this process imports them once, and each
mutation is tested in a fork of it, which imports cropkt afresh.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import cache_from_source
from pathlib import Path
from typing import NoReturn

from mutation import ROOT, Mutation
from wiring import MUTATIONS

COPIED = ("cropkt", "docs", "scripts", "tests", "tune_spaces", "pyproject.toml", "cluster.yaml", "Makefile")
LONGEST, LONGEST_WAIT = 300, 900
"""Seconds of processor time after which tests are stopped, and seconds after which one test is: a mutation that makes a
program turn in circles or wait is noticed, and a busy machine is not taken for one."""
LIBRARIES = (
    *("torch", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "sksurv.linear_model", "sksurv.metrics"),
    *("sklearn.preprocessing", "statsmodels.api", "matplotlib.figure", "safetensors.torch", "h5py", "zarr", "yaml"),
    *("beartype", "jaxtyping", "pytest", "pytest_timeout", "ray.tune", "ray.train", "mlflow", "optuna"),
)
"""Imported once, for all mutations."""
FAILED = 1
"""pytest's exit code when tests ran and some failed; any other but 0 says that they did not run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 when every mutation was killed, or survives with a reason."""
    parser = argparse.ArgumentParser(description="Break the code in small ways and see the tests fail.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone: names, files or folders of cropkt/")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep each result here; those there are not run")
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
        return run(chosen, Path(folder), asked.results)


@dataclass(frozen=True)
class Result:
    """What became of a mutation."""

    name: str
    fate: str
    """killed, harmless, SURVIVED, or BROKEN: the tests did not run, or fail without the mutation too."""
    seconds: float
    """Of processor time."""
    remark: str
    """The first test that failed, or why it is harmless that none did."""
    digest: str
    """Of the mutation, the file it breaks and the files of its tests."""


def run(mutations: Sequence[Mutation], folder: Path, results: Path | None = None) -> int:
    """Run `mutations` on a copy of the tree in `folder`, and print what became of each as soon as it is known."""
    known = _read(results) if results else {}
    laboratory: Laboratory | None = None
    found = []
    for mutation in mutations:
        digest = _digest(mutation)
        result = known.get(mutation.name)
        if result is None or result.digest != digest:
            laboratory = laboratory or Laboratory(folder)
            result = laboratory.result(mutation, digest)
            if results and result.fate != "BROKEN":
                with results.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
        print(f"{result.name:50s} {result.fate:8s} {result.seconds:6.1f} s  {result.remark}", flush=True)
        found.append(result)
    return _summary(found)


class Laboratory:
    """A copy of the tree in `folder`, where tests have passed before a mutation is judged by them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pass_unmutated: set[str] = set()
        _copy(folder)
        _import_libraries()

    def result(self, mutation: Mutation, digest: str) -> Result:
        """What becomes of `mutation`; BROKEN, with pytest's output, where its tests fail without it too."""
        if new := [test for test in mutation.tests if test not in self.pass_unmutated]:
            unmutated = _test(self.folder, new, writes_bytecode=True)
            if unmutated.code:
                print(unmutated.output)
                return Result(mutation.name, "BROKEN", unmutated.seconds, "fails without the mutation too", digest)
            self.pass_unmutated.update(new)
        with _mutated(self.folder, mutation):
            tested = _test(self.folder, mutation.tests)
        fate = _fate(mutation, tested.code)
        return Result(mutation.name, fate, round(tested.seconds, 1), tested.failed or mutation.harmless, digest)


def _summary(found: Sequence[Result]) -> int:
    alive = [result.name for result in found if result.fate in ("SURVIVED", "BROKEN")]
    seconds = sum(result.seconds for result in found)
    print(f"{len(found) - len(alive)} of {len(found)} killed or harmless, in {seconds:.0f} s of processor time")
    if alive:
        print(f"not killed: {', '.join(alive)}")
    return 1 if alive else 0


def _read(results: Path) -> dict[str, Result]:
    """The last result of each mutation."""
    lines = results.read_text().splitlines() if results.exists() else []
    return {result.name: result for result in (Result(**json.loads(line)) for line in lines)}


def _digest(mutation: Mutation) -> str:
    files = (mutation.file, *dict.fromkeys(test.partition("::")[0] for test in mutation.tests))
    text = [json.dumps(asdict(mutation)), *((ROOT / file).read_text() for file in files)]
    return hashlib.sha256("\0".join(text).encode()).hexdigest()[:16]


def _fate(mutation: Mutation, code: int) -> str:
    if code == FAILED or code < 0:  # below 0: stopped by a signal, of the limit among others
        return "killed"
    if code:
        return "BROKEN"  # nothing was tested: the mutated code cannot be imported
    return "harmless" if mutation.harmless else "SURVIVED"


def _copy(folder: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        if (ROOT / name).is_symlink():
            (folder / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=skipped)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)


@contextmanager
def _mutated(folder: Path, mutation: Mutation) -> Iterator[None]:
    path = folder / mutation.file
    before = path.read_text()
    path.write_text(mutation.applied_to(before))
    # Two versions of a file may have the same size and second, by which Python tells its bytecode from yesterday's.
    Path(cache_from_source(str(path))).unlink(missing_ok=True)
    try:
        yield
    finally:
        path.write_text(before)


def _import_libraries() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # and a fork takes no thread along
    for name in LIBRARIES:
        import_module(name)


@dataclass(frozen=True)
class _Tested:
    code: int
    """pytest's exit code; below 0 the signal that stopped it, negated."""
    seconds: float
    """Of processor time."""
    failed: str
    """The first test that failed."""
    output: str


def _test(folder: Path, tests: Iterable[str], *, writes_bytecode: bool = False) -> _Tested:
    """Run `tests` of the copy in `folder`, in a fork of this process, until one fails."""
    output = folder / "output.txt"
    before = _seconds_of_children()
    child = os.fork()
    if not child:
        _test_and_exit(folder, list(tests), output, writes_bytecode=writes_bytecode)
    _, status = os.waitpid(child, 0)
    said = output.read_text(errors="replace")
    failed = next((line.split()[1] for line in said.splitlines() if line.startswith(("FAILED", "ERROR "))), "")
    return _Tested(os.waitstatus_to_exitcode(status), _seconds_of_children() - before, failed, said)


def _test_and_exit(folder: Path, tests: Sequence[str], output: Path, *, writes_bytecode: bool) -> NoReturn:
    import pytest

    code = 2
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        os.environ["PYTHONPATH"] = str(folder)
        if not writes_bytecode:
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # but for the limit per test, none is needed
        known = "ignore::pytest.PytestAssertRewriteWarning"  # of plugins that were imported before
        arguments = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-W", known]
        code = int(pytest.main([*arguments, "-o", f"timeout={LONGEST_WAIT}", *tests]))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
