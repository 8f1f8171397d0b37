"""Source models and pan-cancer networks, trained by Ray Train: what is missing, the trainer, and its workers."""
