"""Rivals whose networks were trained on other cohorts."""
