"""Clinical tables: what their columns are, which cohort they are of, and the label tables made of them."""
