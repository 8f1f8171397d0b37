"""One run and its library for all tests here; nobody changes it."""

import pytest
from made_library import Made, make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("library"))
