"""Survival in discrete years: the intervals, their likelihood, and the risk that hazards add up to."""
