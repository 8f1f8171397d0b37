"""How facts are tested against C-indices: regression, mixed model, permutation, prediction of left-out targets."""
