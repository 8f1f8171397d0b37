"""A lender that runs the other way is found, named and left out; where nobody shares anything, nobody is accused."""

import time

import numpy as np
from made_up_cohorts import made_up_cohort, made_up_lenders
from threadpoolctl import threadpool_limits

from cropkt.borrowing.axes import cohort_moments
from cropkt.borrowing.folds import borrowed_risks
from cropkt.borrowing.lenders import gather_lenders


def test_a_reversed_lender_is_left_out_and_named() -> None:
    lenders = [*made_up_lenders(), made_up_cohort("the other way", patients=120, sign=-1)]
    found = gather_lenders(lenders, axes=4)
    assert found.apart == ("the other way",)
    assert found.sharing["the other way"] < 0.2
    assert min(probability for cohort, probability in found.sharing.items() if cohort != "the other way") > 0.5
    assert "the other way" not in {summary.cohort for summary in found.model.summaries}


def test_without_a_reversed_lender_all_lend() -> None:
    found = gather_lenders(made_up_lenders(), axes=4)
    assert found.apart == ()
    assert len(found.model.summaries) == 8


def test_where_slides_tell_nothing_the_prior_is_small_and_nobody_is_far_from_even() -> None:
    found = gather_lenders(made_up_lenders(signal=0.0), axes=4)
    assert found.apart == ()
    prior = found.model.prior(found.axes.centroid(made_up_cohort("target").features))
    assert np.square(prior.mean).sum() < 0.1


def test_one_lender_and_two_are_enough_to_borrow() -> None:
    for count in (1, 2):
        found = gather_lenders(made_up_lenders(count), axes=4)
        assert len(found.model.summaries) == count


def test_a_target_at_full_width_takes_under_two_seconds_of_a_processor() -> None:
    """25 lenders, 1,536 features, 24 axes, five folds: axes, summaries, prior, screening and the target's own fits."""
    lenders = [made_up_cohort(f"lender {n}", patients=60 + 10 * n, width=1536) for n in range(25)]
    target = made_up_cohort("target", patients=80, width=1536)
    everyone = np.arange(80)
    folds = [(everyone[everyone % 5 != fold], everyone[everyone % 5 == fold]) for fold in range(5)]
    moments = [cohort_moments(lender.cohort, lender.features) for lender in lenders]  # once, for all targets
    with threadpool_limits(1):
        started = time.process_time()
        risks = borrowed_risks(gather_lenders(lenders, axes=24, moments=moments), target, folds)
        seconds = time.process_time() - started
    print(f"{seconds:.2f} s of a processor for one target")
    assert np.isfinite(risks.averaged).sum() == 80
    assert seconds < 2
