"""One rival per file; the record is called RIVAL."""
