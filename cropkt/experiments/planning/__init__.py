"""What a run would cost, before anything starts."""
