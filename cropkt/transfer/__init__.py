"""The idea of the study, without a cluster: score source models on a target cohort, fold against fold.

`protocol` says which model may score which patient, `pair` turns predictions into C-indices, `baselines` measures the
rivals, `significance` compares, `source_choice` chooses without test patients, `store` keeps each pair's record, and
`assemble` makes the tables of them (`agreement`: between architectures).
"""
