"""Cohorts that need not fit in memory: the budget, tiles of bags, bags that are read whenever they are walked."""
