"""Where the tests find the published numbers and the real labels.

The clone carries a compact part of the published numbers (tests/parity/compact). All of them are used where
CROPKT_PARITY_DIR (default ../shared/parity) is there, real labels where CROPKT_REAL_DATA (default ../shared/data) is.
Where CROPKT_REQUIRE_DATA=1 their absence is an error; elsewhere it is a skip that names what is missing.
"""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook
from threadpoolctl import threadpool_limits

CHECKED = (
    "cropkt.data.bags",
    "cropkt.models.architectures",
    "cropkt.models.mil",
    "cropkt.survival.concordance",
    "cropkt.survival.cox",
    *(f"cropkt.survival.losses.{loss}" for loss in ("cox_nll", "discrete_nll", "incidence_nll")),
    "cropkt.survival.discrete.likelihood",
    "cropkt.survival.discrete.risk",
)
"""Modules whose annotations, shapes included, are checked at every call while tests run."""
if find_spec("beartype"):
    install_import_hook(list(CHECKED), "beartype.beartype")

from small_studies import SmallStudy, write_study  # noqa: E402 - the hook comes before the first import of cropkt

ROOT = Path(__file__).resolve().parent.parent


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable, ROOT.parent / "shared" / default))


def _needed(folder: Path, variable: str, file: str) -> Path:
    if (folder / file).is_file():
        return folder
    message = f"{folder / file} is not there; set {variable}"
    if os.environ.get("CROPKT_REQUIRE_DATA") == "1":
        pytest.fail(f"{message} (CROPKT_REQUIRE_DATA=1)")
    pytest.skip(message)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The matrices of tests are so small that threads only wait for each other, on a busy machine for minutes."""
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="session")
def full_parity() -> Path:
    """The folder with all of the published code's numbers."""
    return _needed(_folder("CROPKT_PARITY_DIR", "parity"), "CROPKT_PARITY_DIR", "training.json")


@pytest.fixture(scope="session", params=["compact", "full"])
def parity(request: pytest.FixtureRequest) -> Path:
    """The published code's numbers: the part in the clone, then all of them."""
    if request.param == "compact":
        return ROOT / "tests" / "parity" / "compact"
    folder: Path = request.getfixturevalue("full_parity")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real labels and features of 26 TCGA cohorts."""
    return _needed(_folder("CROPKT_REAL_DATA", "data"), "CROPKT_REAL_DATA", "labels/counts.csv")


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures as PNG alone and coarse. Their other kinds and their size are tested where style and matrix are."""
    monkeypatch.setattr("cropkt.report.style._NO_DATES", {"png": {"Software": None}})
    monkeypatch.setattr("cropkt.report.style.DPI", 72)


@pytest.fixture
def small_study(tmp_path: Path) -> Callable[..., SmallStudy]:
    """small_study("acc", "kipan") writes a valid study of these cohorts into the test's folder."""

    def write(*codes: str, patients: int = 12) -> SmallStudy:
        return write_study(tmp_path / "study", *codes, patients=patients)

    return write
