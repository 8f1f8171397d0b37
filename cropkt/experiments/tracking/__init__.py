"""MLflow: the store and its client, the mirror of a sweep, the log of an analysis."""
