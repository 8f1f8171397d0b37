"""Routers searched and fitted by Ray Tune: the driver, settings, searches, trials, conclusion."""
