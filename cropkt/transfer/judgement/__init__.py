"""What may be concluded of measured pairs: verdicts over families of tests, survival probabilities, confounders."""
