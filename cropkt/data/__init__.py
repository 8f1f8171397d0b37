"""The data floor: what a study on disk promises, whether it keeps it, and its patches as bags in memory."""
