"""Site-preserving folds: no site on both sides, events balanced, and a reason where it cannot be done."""

import numpy as np
import pandas as pd
import pytest

from cropkt.data.patients.site_folds import make_site_splits, site_code
from cropkt.errors import StudyError


def cohort(sizes: list[int], rate: float = 0.4, seed: int = 0) -> tuple[pd.DataFrame, dict[str, str]]:
    """Labels and sites of as many sites as `sizes`."""
    random = np.random.default_rng(seed)
    sites = {f"p{site:02d}-{number:02d}": f"s{site}" for site, size in enumerate(sizes) for number in range(size)}
    return pd.DataFrame({"event": (random.random(len(sites)) < rate).astype(int)}, index=list(sites)), sites


def test_no_site_is_in_two_tests_and_everybody_is_tested_once() -> None:
    labels, sites = cohort([20, 15, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1])
    splits = make_site_splits(labels, sites, 5, 1, "acc")
    assert sorted(patient for fold in splits for patient in fold.test) == sorted(labels.index)
    for fold in splits:
        assert not {sites[patient] for patient in fold.test} & {sites[patient] for patient in fold.train}
        assert sorted(fold.train + fold.test) == sorted(labels.index)


def test_events_are_balanced() -> None:
    labels, sites = cohort([9] * 20, rate=0.3)
    events = [labels.loc[list(fold.test), "event"].sum() for fold in make_site_splits(labels, sites, 5, 1, "acc")]
    assert max(events) - min(events) <= 3


def test_folds_follow_the_seed_and_the_cohort_and_not_the_order_of_rows() -> None:
    labels, sites = cohort([6] * 15)
    first = make_site_splits(labels, sites, 5, 1, "acc")
    assert make_site_splits(labels.iloc[::-1], sites, 5, 1, "acc") == first
    assert make_site_splits(labels, sites, 5, 2, "acc") != first
    assert make_site_splits(labels, sites, 5, 1, "uvm") != first


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [([80, 3, 3, 2, 2], "89% of the 90 patients are from one site"), ([9, 9, 9, 9], "4 sites cannot fill 5")],
)
def test_it_says_why_it_is_impossible(sizes: list[int], reason: str) -> None:
    labels, sites = cohort(sizes)
    with pytest.raises(StudyError, match=f"acc: {reason}"):
        make_site_splits(labels, sites, 5, 1, "acc")


def test_a_site_with_most_events_is_as_impossible() -> None:
    labels, sites = cohort([10] * 8)
    labels["event"] = [int(sites[patient] == "s3") for patient in labels.index]
    with pytest.raises(StudyError, match="100% of the 10 events are from one site"):
        make_site_splits(labels, sites, 5, 1, "acc")


def test_the_site_of_a_barcode() -> None:
    assert site_code("TCGA-OR-A5J1-01Z-00-DX1") == site_code("tcga-or-a5j1") == "OR"
    with pytest.raises(ValueError, match="'patient 7' is not a TCGA barcode"):
        site_code("patient 7")
