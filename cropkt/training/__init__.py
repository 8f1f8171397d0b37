"""Training of source models: the published optimiser semantics, all folds of a cohort over the same resident bags."""
