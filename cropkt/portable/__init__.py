"""Models that travel: a run's source models in one folder that scores new slides without the study.

bundle.py is the folder; export.py makes one, predict.py asks one. seen.py and reference.py are the statistics of the
training cohorts that go with the models; none of them holds a patient's row.
"""
