"""What makes knowledge transfer: facts about cohorts and pairs, and how far they explain and predict the C-index."""
