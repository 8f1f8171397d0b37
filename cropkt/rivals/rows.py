"""Rows of the learning curves' table."""

from dataclasses import dataclass
from typing import Annotated

from cropkt.transfer.columns import Column, Table, columns_of
from cropkt.transfer.rows import Architecture, Encoder, Target

NAN = float("nan")


@dataclass(frozen=True)
class CurveRow:
    """One rival on one draw of a target's training patients."""

    target: Target
    encoder: Encoder
    architecture: Architecture
    method: Annotated[str, Column("", "name of the method (docs/borrowing.md)")]
    patients: Annotated[str, Column("patients", "training patients; all: the study's folds, everybody tested once")]
    draw: Annotated[int, Column("", "number of the draw; 0 where patients is all")]
    train_events: Annotated[float, Column("patients", "training patients with an event, mean over folds")]
    test_patients: Annotated[int, Column("patients", "patients that were tested")]
    test_events: Annotated[int, Column("patients", "tested patients with an event")]
    c_index: Annotated[float, Column("", "Harrell's C-index of the tested patients, within folds; 0.5 without a model")]
    c_index_true: Annotated[
        float, Column("", "expected concordance under the true risk, where the study is simulated")
    ] = NAN
    probability: Annotated[
        float, Column("", "that the training patients go with the other cohorts, the evidence's weight of borrowing")
    ] = NAN
    signal: Annotated[
        float, Column("", "standard deviation of the training patients' log-risks as the other cohorts foretell them")
    ] = NAN
    fitted: Annotated[bool, Column("", "whether the method could be fitted; if not, it ranks nobody: 0.5")] = True
    seconds: Annotated[float, Column("s", "time the method took")] = NAN


CURVE = Table("curve.parquet", "target, method and draw of training patients", columns_of(CurveRow))
