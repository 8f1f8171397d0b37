"""Simulations that ask whether intervals cover and tests keep their size."""
