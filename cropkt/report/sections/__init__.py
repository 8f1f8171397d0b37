"""The sections that analyses add to the report."""
