"""Discrete-time survival: intervals, losses, hazards to risk, and Harrell's C-index with its error."""
