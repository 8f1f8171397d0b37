"""The house has floors and imports only go down; only the top one knows Ray and MLflow (docs, cropkt/)."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "__init__": 9,
    "__main__": 8,
    "experiments": 7,
    "attention": 6,
    "benchmark": 6,
    "report": 5,
    "factors": 4,
    "portable": 4,
    "routing": 4,
    "rivals": 4,
    "transfer": 3,
    "training": 2,
    "models": 1,
    "simulation": 1,
    "borrowing": 1,
    "front": 1,
    "survival": 0,
    "data": 0,
}
GROUND = {"cohorts", "errors", "files", "registry", "seeds", "version"}
"""Modules below all floors. They import each other and nothing else of ours."""
CLUSTER = {"ray", "mlflow", "optuna"}
FILES = sorted((ROOT / "cropkt").rglob("*.py"))
BELOW_THE_CLUSTER = [path for path in FILES if not path.is_relative_to(ROOT / "cropkt" / "experiments")]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def imported(path: Path) -> list[tuple[int, str]]:
    """Every absolute module a file imports, anywhere in it, with its line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).with_suffix("").parts[: -node.level] if node.level else ()
            module = ".".join([*package, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def floor_of(module: str) -> int | None:
    """The floor a dotted module of ours is on, -1 for the ground, None for modules that are not ours."""
    parts = module.split(".")
    if parts[0] != "cropkt":
        return None
    if len(parts) == 1 or parts[1] in GROUND or parts[1].startswith("__"):
        return -1
    return FLOORS[parts[1]]


def own_package(path: Path) -> str:
    return path.relative_to(ROOT / "cropkt").parts[0].removesuffix(".py")


def test_every_package_has_its_floor() -> None:
    packages = {own_package(path) for path in FILES}
    assert packages <= set(FLOORS) | GROUND
    assert {"experiments", "transfer", "training", "models", "survival", "data"} <= packages


def test_no_folder_holds_more_than_twelve_files() -> None:
    folders = Counter(path.parent.relative_to(ROOT) for path in [*FILES, *(ROOT / "tests").rglob("*.py")])
    assert {str(folder): count for folder, count in folders.items() if count > 12} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    own = own_package(path)
    floor = FLOORS.get(own, -1)
    for line, module in imported(path):
        theirs = floor_of(module)
        if theirs is None or module.split(".")[1:2] == [own]:
            continue
        assert theirs < floor or (theirs == floor == -1), f"{path}:{line}: {own} imports {module}"


@pytest.mark.parametrize("path", [*BELOW_THE_CLUSTER, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_only_experiments_knows_ray_and_mlflow(path: Path) -> None:
    known = [(line, module) for line, module in imported(path) if module.split(".")[0] in CLUSTER]
    assert not known, f"{path}: {known}"


def test_the_check_sees_imports_of_every_kind(tmp_path: Path) -> None:
    """It would be worth nothing if it saw none: experiments does know Ray and MLflow, and in functions too."""
    seen = {module.split(".")[0] for path in FILES for _, module in imported(path)}
    assert {"ray", "mlflow", "cropkt", "torch"} <= seen
    sample = tmp_path / "sample.py"
    sample.write_text("import ray.tune\ndef f():\n    from mlflow import log_metric\n")
    assert [module for _, module in imported(sample)] == ["ray.tune", "mlflow.log_metric"]
