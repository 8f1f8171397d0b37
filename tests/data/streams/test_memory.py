"""The budget: what is asked for, or a share of the least of what there is."""

from pathlib import Path

import pytest

from cropkt.data.streams import memory
from cropkt.data.streams.memory import available, budget, size_in_words
from cropkt.errors import ConfigError


def test_amounts_and_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda _: 10_000)
    expected = {"8GB": 8 * 10**9, "1.5 gib": 3 * 2**29, "300": 300, "40%": 4000, None: 5000}
    assert {asked: budget(asked) for asked in expected} == expected


@pytest.mark.parametrize("asked", ["much", "8 apples", "-1GB", "0", "120%", "", "GB"])
def test_what_is_no_amount_is_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match="--memory is"):
        budget(asked)


def test_the_least_of_machine_and_control_group_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    machine = available()
    (tmp_path / "memory.max").write_text("max\n")
    assert available() == machine
    (tmp_path / "memory.max").write_text("12345\n")
    assert available() == 12345


def test_sizes_in_words() -> None:
    assert [size_in_words(size) for size in (12, 1500, 2_500_000, 74e9)] == ["12 bytes", "1.5 kB", "2.5 MB", "74 GB"]
