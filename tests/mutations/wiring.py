"""Small mutations of the wiring: which patients, which fold, which model, which flag. Each must fail a test.

They are mistakes that a careful person makes and no number gives away: the result is a C-index like any other. run.py
applies them one by one; test_mutations.py sees to it that the list keeps step with the code.
"""

from rooms import attention, borrowing, data, experiments, factors, front, portable, rivals, routing, training, transfer

MUTATIONS = (
    *data.MUTATIONS,
    *training.MUTATIONS,
    *transfer.MUTATIONS,
    *routing.MUTATIONS,
    *borrowing.MUTATIONS,
    *factors.MUTATIONS,
    *attention.MUTATIONS,
    *portable.MUTATIONS,
    *rivals.MUTATIONS,
    *front.MUTATIONS,
    *experiments.MUTATIONS,
)
