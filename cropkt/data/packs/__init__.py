"""Packs: a cohort's bags in few large files, read by memory map without a copy; written, read and verified."""

DTYPES = ("bfloat16", "float16", "float32")
"""Types of number that a pack can have."""
