"""Pan-cancer networks: who trains them, how cohorts take turns, and who lends on their vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cropkt.data.bags import Bags
from cropkt.models.mil import Architecture
from cropkt.models.predict import predict
from cropkt.rivals.pan_cancer import networks_for, unseen_patients
from cropkt.seeds import generator
from cropkt.survival.concordance import concordance
from cropkt.training import pan_cancer
from cropkt.training.pan_cancer import PARTS, SETTINGS, Pool, pool_bags, thin, train_pan_cancer

WIDTH = 6
SMALL = Architecture(features=WIDTH, embedding=16, attention=8)
QUICK = replace(SETTINGS, epochs=6, bags_per_update=16, learning_rate=3e-3)


def cohort(code: str, patients: int = 48, seed: int = 0) -> tuple[str, Bags, np.ndarray, np.ndarray]:
    """One of a patient's five patches shows its risk, in the first feature; the cohort's baseline is its own."""
    random = generator(seed, "pool", code)
    log_risk = random.normal(size=patients)
    features = 0.3 * random.normal(size=(patients, 5, WIDTH))
    features[:, 0, 0] += 3 * log_risk
    died = (50 * len(code)) * random.exponential(size=patients) * np.exp(-2 * log_risk)
    leaves = (60 * len(code)) * random.exponential(size=patients)
    bags = Bags(
        tuple(f"{code}-{number}" for number in range(patients)),
        torch.tensor(features.reshape(-1, WIDTH), dtype=torch.float32),
        torch.arange(0, 5 * patients + 1, 5),
    )
    return code, bags, np.minimum(died, leaves), (died <= leaves).astype(np.int64)


CODES = ["acc", "uvm", "meso", "chol"]


@pytest.fixture(scope="module")
def pool() -> Pool:
    return pool_bags([cohort(code) for code in CODES], seed=1)


def test_a_pool_keeps_every_cohorts_patients_and_shares_out_its_events(pool: Pool) -> None:
    assert pool.bags.patients[48] == "uvm-0"
    np.testing.assert_array_equal(pool.bags.take([49]).features, cohort("uvm")[1].take([1]).features)
    for number in range(len(CODES)):
        events = [pool.event[(pool.cohort == number) & (pool.part == part)].sum() for part in range(PARTS)]
        assert max(events) - min(events) <= 1


def test_a_person_of_two_cohorts_is_in_one_part() -> None:
    """Else a network's unseen patients would be people it has learnt from, under another cohort's name."""
    code, bags, time, event = cohort("uvm")
    twice = replace(bags, patients=tuple(f"ACC-{number}" for number in range(len(bags))))
    both = pool_bags([cohort("acc"), (code, twice, time, event)], seed=1)
    np.testing.assert_array_equal(both.part[:48], both.part[48:])
    apart = pool_bags([cohort("acc"), cohort("uvm")], seed=1)
    assert (apart.part[:48] != apart.part[48:]).any()


def test_every_update_holds_patients_of_one_cohort_and_cohorts_take_turns(pool: Pool) -> None:
    train = np.flatnonzero((pool.part != 0) & (pool.cohort != 2) | (pool.bags.offsets[:-1].numpy() < 0))
    walk = pan_cancer._Turns(pool, train, 16, seed=0, part=0).walk(0)
    assert set(walk) <= set(train)
    updates = pool.cohort[walk].reshape(-1, 16)
    assert (updates == updates[:, :1]).all()
    counts = np.bincount(updates[:, 0], minlength=4)
    assert counts[2] == 0
    assert counts.sum() == -(-len(train) // 16)
    assert np.ptp(counts[[0, 1, 3]]) <= 1


def test_they_rank_patients_of_a_cohort_that_no_network_has_seen(pool: Pool) -> None:
    _, bags, time, event = cohort("target", patients=80)
    networks = [one.model for one in train_pan_cancer(pool, SMALL, seed=0, precision="float32", settings=QUICK)]
    found = networks_for(networks, unseen_patients(pool, CODES, networks), bags)
    assert concordance(time, event, found.risk.mean(axis=0)).c_index > 0.7
    fits = found.fits(np.arange(40), time[:40], event[:40])
    assert len(fits) == PARTS
    for fit, vectors in zip(fits, found.vectors, strict=True):
        assert concordance(time[40:], event[40:], vectors[40:] @ fit.averaged).c_index > 0.7


def test_a_network_learns_nothing_from_the_part_it_lends_from(pool: Pool) -> None:
    """Noise as patches and outcomes of one part: the network of that part stays as it was, the other does not."""
    noisy_bags = replace(pool.bags, features=pool.bags.features.clone())
    noisy = replace(pool, bags=noisy_bags, time=pool.time.copy(), event=pool.event.copy())
    for bag in np.flatnonzero(pool.part == 1):
        noisy_bags.features[5 * bag : 5 * bag + 5] = 7.0
        noisy.time[bag] += bag
    quick = replace(QUICK, epochs=1)
    before, after = (train_pan_cancer(one, SMALL, seed=0, precision="float32", settings=quick) for one in (pool, noisy))
    weights = [[torch.cat([p.flatten() for p in one.model.parameters()]) for one in kind] for kind in (before, after)]
    assert not torch.equal(weights[0][0], weights[1][0])
    torch.testing.assert_close(weights[0][1], weights[1][1], rtol=0, atol=0)


def test_lenders_of_a_network_are_the_patients_it_has_not_seen(pool: Pool) -> None:
    quick = replace(QUICK, epochs=1)
    networks = [one.model for one in train_pan_cancer(pool, SMALL, seed=0, precision="float32", settings=quick)]
    vectors = predict(networks, pool.bags).representation
    for part, cohorts in enumerate(unseen_patients(pool, CODES, networks)):
        assert [one.cohort for one in cohorts] == CODES
        rows = np.flatnonzero((pool.cohort == 1) & (pool.part == part))
        np.testing.assert_array_equal(cohorts[1].features, vectors[part, rows])
        np.testing.assert_array_equal(cohorts[1].time, pool.time[rows])


def test_long_bags_are_thinned_alike_whatever_else_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pan_cancer, "MOST_PATCHES", 3)
    bags = cohort("acc")[1]
    thinned = thin(bags, seed=0)
    assert thinned.lengths.tolist() == [3] * len(bags)
    torch.testing.assert_close(thin(bags.take([7]), seed=0).features, thinned.take([7]).features, rtol=0, atol=0)
