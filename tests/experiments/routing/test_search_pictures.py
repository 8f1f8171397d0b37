"""Pictures of searches: what matters is called important, and the default settings are in the table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cropkt.experiments.routing.job import TrialRecord
from cropkt.experiments.routing.pictures import draw_search, importances, trial_table
from cropkt.experiments.routing.space import SearchSpace, read_space

DEFAULT = {"learning_rate": 1e-4, "top_k": 5, "dropout": 0.25}


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "space.yaml"
    path.write_text(
        "learning_rate: {low: 1.0e-5, high: 0.1, scale: log}\ntop_k: {choices: [1, 5]}\ndropout: {low: 0.0, high: 0.9}"
    )
    return read_space("router", path)


def made_up(folds: int = 3, trials: int = 15) -> dict[int, list[TrialRecord]]:
    """Searches in which the learning rate alone decides; folds have levels of their own. The first has no values."""
    random = np.random.default_rng(0)
    found: dict[int, list[TrialRecord]] = {}
    for fold in range(folds):
        for number in range(trials):
            rate = 10 ** random.uniform(-5, -1) if number else 1e-4
            values = {"learning_rate": rate, "top_k": int(random.choice([1, 5])), "dropout": random.uniform(0, 0.9)}
            score = 0.5 + 0.2 * fold + 0.05 * np.log10(rate / 1e-5)
            state = "stopped" if number % 5 == 4 else "complete"
            record = TrialRecord(number, values if number else {}, state, score, 1.0, [score], "", 1.0)
            found.setdefault(fold, []).append(record)
    return found


def test_every_trial_is_a_row_and_the_first_has_the_default_settings() -> None:
    table = trial_table(made_up(), DEFAULT)
    assert len(table) == 45
    first = table[table["number"] == 0]
    assert first[["learning_rate", "top_k", "dropout"]].drop_duplicates().values.tolist() == [[1e-4, 5, 0.25]]


def test_the_setting_that_decides_is_the_most_important_one(space: SearchSpace) -> None:
    shares = importances(trial_table(made_up(), DEFAULT), space)
    assert shares["learning_rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(trial_table(made_up(1, 4), DEFAULT), space) == {}


def test_a_picture_comes_out_even_of_a_search_that_found_nothing(space: SearchSpace, tmp_path: Path) -> None:
    for name, trials in (("some", made_up()), ("few", made_up(1, 1))):
        assert draw_search(tmp_path / f"{name}.png", "acc", trial_table(trials, DEFAULT), space).stat().st_size > 1000
    failed = {0: [replace(trial, state="failed", score=None) for trial in made_up(1, 2)[0]]}
    assert draw_search(tmp_path / "none.png", "acc", trial_table(failed, DEFAULT), space).exists()
