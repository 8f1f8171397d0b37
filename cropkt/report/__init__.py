"""Pictures and pages made from result tables."""
