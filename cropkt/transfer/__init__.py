"""The idea of the study, without a cluster: score source models on a target cohort, fold against fold.

`protocol` says which model may score which patient, `pair` turns predictions into C-indices, `results` keeps and
assembles what has been measured.
"""
