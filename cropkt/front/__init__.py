"""The front door: from a folder of features and a clinical table to a study that has been checked."""
