"""Files of slides: formats, what makes one unusable, digests of their content, names."""
