"""Borrowing: means of all cohorts, learning curves, recommendations."""
