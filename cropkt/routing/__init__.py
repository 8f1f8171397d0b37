"""Routers and fusions over frozen source models: how each is fitted without leaks, stored, applied and compared."""
