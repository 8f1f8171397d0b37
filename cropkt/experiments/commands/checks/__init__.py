"""Commands that check the tests and methods themselves on simulated data with known truth."""
