"""Who the patients are: label tables, and the folds that divide them."""
