"""Borrowed coefficients: a hierarchical Cox model over cohorts, for a target with few patients (docs/borrowing.md).

axes: label-free directions in feature space. summary: what a cohort leaves behind, no patient in it. prior: what the
other cohorts say about the target's coefficients. fit: the target's own outcomes under that prior, and how probable it
is that borrowing helps. folds: cross-validation on a target. exchange: the files. worth: truth in simulated studies.
"""
