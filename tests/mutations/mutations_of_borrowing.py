"""Mutations of borrowed coefficients: whose patients reach axes, summaries and fits."""

from mutation import Mutation

MUTATIONS = (
    Mutation(
        "borrowing-fits-test-patients",
        "cropkt/borrowing/folds.py",
        "        chosen = _chosen(target, train)\n",
        "        chosen = _chosen(target, np.concatenate([train, test]))\n",
        ("tests/borrowing/test_folds.py",),
        "leak: coefficients would know the outcomes of the patients they are tested on",
    ),
    Mutation(
        "ridge-fits-test-patients",
        "cropkt/borrowing/folds.py",
        "        training = _chosen(target, train)\n",
        "        training = _chosen(target, np.concatenate([train, test]))\n",
        ("tests/borrowing/test_folds.py",),
        "leak: the rival would know the outcomes of the patients it is tested on",
    ),
    Mutation(
        "patients-in-both-lists-train",
        "cropkt/borrowing/folds.py",
        "return train[~np.isin(train, test)], test",
        "return train, test",
        ("tests/borrowing/test_folds.py",),
        "leak, where a split file names a patient twice",
    ),
    Mutation(
        "a-target-lends-to-itself",
        "cropkt/borrowing/worth.py",
        "others = [other for other in cohorts if other != code]",
        "others = list(cohorts)",
        ("tests/borrowing/test_worth.py",),
        "leak: the prior would hold the outcomes of the target's test patients",
    ),
    Mutation(
        "axes-of-the-target-too",
        "cropkt/borrowing/worth.py",
        "moments=[moments[other] for other in others]",
        "moments=list(moments.values())",
        ("tests/borrowing/test_worth.py",),
        "axes would be turned by the target's test patients",
    ),
    Mutation(
        "a-reversed-cohort-lends",
        "cropkt/borrowing/lenders.py",
        "fit_cohort_model(kept)",
        "everyone",
        ("tests/borrowing/test_lenders.py",),
        "a cohort that was found to run the other way would mislead all the same",
    ),
    Mutation(
        "summaries-on-any-axes",
        "cropkt/borrowing/lenders.py",
        "if summary.axes != axes.fingerprint]",
        "if not summary.axes]",
        ("tests/borrowing/test_exchange.py",),
        "coefficients on other axes would be added up as if they meant the same",
    ),
)
