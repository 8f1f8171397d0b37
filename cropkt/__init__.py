"""cropkt: cross-cancer prognosis knowledge transfer from whole-slide images.

Floors, imports only go down: experiments (Ray, MLflow) > report, factors, transfer > training > models >
survival, data. Importing this package imports nothing heavy, so that `--help` is instant.
"""

__version__ = "0.1.0"
