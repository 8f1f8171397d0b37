"""Packs: a cohort's bags in few large files, read by memory map without a copy; written, read and verified."""
