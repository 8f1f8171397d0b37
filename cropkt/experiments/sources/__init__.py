"""Source models trained by Ray Train: the driver and its workers."""
