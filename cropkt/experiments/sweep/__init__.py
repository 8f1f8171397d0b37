"""All pairs measured by Ray Tune: the driver, a pair's trial, and what happens as trials end."""
