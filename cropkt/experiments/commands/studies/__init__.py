"""Commands that make studies and look at them: nothing is trained."""
