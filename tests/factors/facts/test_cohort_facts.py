"""Facts about a cohort: restricted mean survival, follow-up, purity, dimension; and samples that stream."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sksurv.nonparametric import kaplan_meier_estimator
from small_studies import SmallStudy

from cropkt.data.bags import read_bags
from cropkt.data.study import open_study
from cropkt.errors import StudyError
from cropkt.factors.facts.cohort import (
    SamplingFacts,
    feature_facts,
    participation_ratio,
    sampling_facts,
    survival_facts,
    two_nn_dimension,
)
from cropkt.factors.facts.sample import sample_cohort
from cropkt.survival.restricted_mean import median_follow_up, pseudo_observations, restricted_mean


def survival_times(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    time = random.exponential(900, count).round(-1)  # with ties, and zeros
    return time, random.random(count) < 0.5


def test_restricted_mean_is_the_mean_time_lived_where_nobody_is_censored() -> None:
    time, _ = survival_times(80, 1)
    everyone = np.ones(80, dtype=bool)
    assert_allclose(restricted_mean(time, everyone, 1000), np.minimum(time, 1000).mean())
    assert_allclose(pseudo_observations(time, everyone, 1000), np.minimum(time, 1000))


def test_restricted_mean_is_the_area_under_the_kaplan_meier_curve() -> None:
    time, event = survival_times(80, 2)
    times, survival = kaplan_meier_estimator(event, time)
    days = np.arange(0, 1000, 0.5)
    at = np.searchsorted(times, days, side="right")
    curve = np.concatenate([[1.0], survival])[at]
    assert_allclose(restricted_mean(time, event, 1000), curve.sum() * 0.5, rtol=1e-3)
    # A curve that ends before the horizon stays level: 2 of 4 die, the last leaves at day 4.
    assert_allclose(restricted_mean(np.array([1, 2, 3, 4]), np.array([1, 1, 0, 0]), 10), 1 + 0.75 + 0.5 * 8)


def test_pseudo_observations_are_the_jackknifes() -> None:
    time, event = survival_times(40, 3)
    everyone = np.arange(40)
    full = restricted_mean(time, event, 1000)
    expected = [40 * full - 39 * restricted_mean(time[everyone != i], event[everyone != i], 1000) for i in everyone]
    assert_allclose(pseudo_observations(time, event, 1000), expected, rtol=1e-9)
    assert_allclose(pseudo_observations(time, np.zeros(40), 1000), 1000)


def test_median_follow_up_is_the_reverse_kaplan_meiers() -> None:
    time = np.array([1.0, 2, 3, 4, 5])
    assert median_follow_up(time, np.zeros(5)) == 3
    # Deaths at 1 and 2 hide how long these would have been followed: of the last three, 4 is in the middle.
    assert median_follow_up(time, np.array([1, 1, 0, 0, 0])) == 4
    assert np.isnan(median_follow_up(time, np.ones(5)))


def test_dimensions_of_known_distributions() -> None:
    random = np.random.default_rng(0)
    assert_allclose(participation_ratio(random.standard_normal((4000, 20))), 20, rtol=0.02)
    narrow = random.standard_normal((4000, 3)) * np.sqrt([4, 1, 1])
    assert_allclose(participation_ratio(narrow), 36 / 18, rtol=0.05)
    # Fewer points than dimensions: the plug-in would say 60 / (1 + 60 / 200) = 46, not 200.
    few = [participation_ratio(random.standard_normal((60, 200))) for _ in range(20)]
    assert_allclose(np.mean(few), 200, rtol=0.1)
    basis = np.linalg.qr(random.standard_normal((64, 5)))[0]
    assert_allclose(two_nn_dimension(random.standard_normal((3000, 5)) @ basis.T), 5, rtol=0.1)
    assert np.isnan(two_nn_dimension(np.zeros((50, 3))))


def test_facts_of_a_small_study(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc", "kipan")
    opened = open_study(study.folder)
    acc, kipan = opened.cohorts["acc"], opened.cohorts["kipan"]
    facts = survival_facts(acc)
    assert facts.patients == 12
    assert facts.slides == 16
    assert facts.events == 6
    assert facts.event_rate == 0.5
    assert facts.patches == acc.slides["patches"].sum()
    assert_allclose(facts.events_per_year, 6 / (acc.labels["time"].sum() / 365.25))
    assert facts.rmst == restricted_mean(acc.labels["time"].to_numpy(), acc.labels["event"].to_numpy(), 3 * 365)
    assert sampling_facts(acc) == SamplingFacts(site_purity=1.0, project_purity=1.0, primary_share=1.0)
    # Three projects with four patients each: 11 others, 3 of them of one's own.
    assert_allclose(sampling_facts(kipan).project_purity, 3 / 11)


def test_purity_of_sites_and_metastases_reads_the_barcodes(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    rows = study.rows("acc")
    for row in rows[1:]:
        for suffix in (".h5",):
            old = study.features("ACC", row[1])
            if row[0] == "TCGA-AC-0000":
                row[0], row[1] = "TCGA-ZZ-0000", row[1].replace("TCGA-AC", "TCGA-ZZ").replace("-01Z", "-06Z")
                old.rename(old.with_name(row[1] + suffix))
    study.write_rows("acc", rows)
    facts = sampling_facts(open_study(study.folder).cohorts["acc"])
    assert_allclose(facts.site_purity, 11 * 10 / (12 * 11))
    assert_allclose(facts.primary_share, 14 / 16)


def test_a_sample_holds_the_bags_means_and_patches_of_every_patient(small_study: Callable[..., SmallStudy]) -> None:
    cohort = open_study(small_study("acc").folder).cohorts["acc"]
    sample = sample_cohort(cohort, 24, seed=1)
    bags = read_bags(cohort)
    assert sample.patients == bags.patients
    for number in range(len(bags)):
        own = bags.take([number]).features.numpy()
        assert_allclose(sample.means[number], own.mean(axis=0), atol=1e-6)
        drawn = sample.patches[sample.owner == number]
        assert len(drawn) == min(2, len(own))
        assert all((patch == own).all(axis=1).any() for patch in drawn)
    assert sample.patches_seen == len(bags.features)
    again, other = sample_cohort(cohort, 24, seed=1), sample_cohort(cohort, 24, seed=2)
    assert (again.patches == sample.patches).all()
    assert not (other.patches == sample.patches).all()
    assert feature_facts(sample).dispersion_patches == pytest.approx(sample.patches.var(axis=0, ddof=1).sum(), rel=1e-4)


def test_memory_does_not_grow_with_patches(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc", patients=24)

    def peak(slides: int) -> int:
        for row in study.rows("acc")[1 : slides + 1]:
            study.write_slide("ACC", row[1], np.ones((20_000, 6), dtype=np.float32))
        cohort = open_study(study.folder).cohorts["acc"]
        tracemalloc.start()
        sample_cohort(cohort, 48, seed=1)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    few = peak(3)  # one slide is at hand while the next is read
    assert few > 20_000 * 6 * 4
    assert peak(24) < 1.3 * few


def test_slides_that_cannot_be_used_are_left_out(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    cohort = open_study(study.folder).cohorts["acc"]
    slides = [row[1] for row in study.rows("acc")[1:]]
    study.write_slide("ACC", slides[-1], np.full((3, 6), np.nan, dtype=np.float32))
    assert len(sample_cohort(cohort, 24, seed=1).patients) == 11
    for slide in slides:
        study.features("ACC", slide).write_bytes(b"not a file")
    with pytest.raises(StudyError, match="acc: none of its 16 slides"):
        sample_cohort(cohort, 24, seed=1)
