"""What is measured of cohorts and of pairs of cohorts: facts, distances, similarities of models."""
