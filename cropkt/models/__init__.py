"""Multiple-instance models: from a bag of patch features to the hazards of 32 yearly intervals."""
