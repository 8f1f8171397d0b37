"""Small mutations of the wiring: which patients, which fold, which model, which flag. Each must fail a test.

They are mistakes that a careful person makes and no number gives away: the result is a C-index like any other. run.py
applies them one by one; test_mutations.py sees to it that the list keeps step with the code.
"""

import mutations_of_attention
import mutations_of_borrowing
import mutations_of_data
import mutations_of_experiments
import mutations_of_factors
import mutations_of_front
import mutations_of_portable
import mutations_of_rivals
import mutations_of_routing
import mutations_of_training
import mutations_of_transfer

MUTATIONS = (
    *mutations_of_data.MUTATIONS,
    *mutations_of_training.MUTATIONS,
    *mutations_of_transfer.MUTATIONS,
    *mutations_of_routing.MUTATIONS,
    *mutations_of_borrowing.MUTATIONS,
    *mutations_of_factors.MUTATIONS,
    *mutations_of_attention.MUTATIONS,
    *mutations_of_portable.MUTATIONS,
    *mutations_of_rivals.MUTATIONS,
    *mutations_of_front.MUTATIONS,
    *mutations_of_experiments.MUTATIONS,
)
