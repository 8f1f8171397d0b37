"""study.yaml: keys and schema, patterns of paths, the mapping of a study's own columns."""
