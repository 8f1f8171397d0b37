"""The slides that have features: where they lie, who made them, and whose they are."""
