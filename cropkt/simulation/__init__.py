"""Made-up worlds with known truth: a whole study of cohorts, and a transfer matrix alone."""
