"""How fast this machine multiplies and reads, and what share of that scoring and training reach."""
