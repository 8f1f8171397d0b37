"""Tables of slides' feature columns as bags: each slide becomes an .h5 file of one patch, on one scale, without gaps.

How values are scaled and missing ones filled, without any label, is said in `cropkt.data.tcga`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cropkt.data.slide_files.features import write_h5
from cropkt.data.slide_files.slide_names import is_plain_name, slide_id
from cropkt.data.tcga import FeatureSet, scaled
from cropkt.errors import StudyError
from cropkt.front.tables.column_names import is_called
from cropkt.front.tables.table_reading import SLIDE_NAMES

FOLDER = "features"


@dataclass(frozen=True)
class WrittenVectors:
    """What was written: the folder, slides, features a slide, the share of values that was missing, tables without a
    column of slides."""

    folder: Path
    slides: int
    features: tuple[str, ...]
    missing: float
    passed_over: tuple[str, ...]


def vector_tables(folder: Path) -> list[Path]:
    """The tables in `folder` that may hold feature columns."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".parquet", ".csv") and path.is_file())


def write_vectors(folder: Path, out: Path) -> WrittenVectors:
    """Write the slides in the tables of `folder` as `out`/features/{slide}.h5.

    Columns that all tables have and that hold numbers are the features. Raises StudyError where no table has a column
    of slides and one of numbers, or where a slide is there twice.
    """
    frames, passed_over = [], []
    for path in vector_tables(folder):
        frame = _read(path)
        column = next((name for name in frame.columns if is_called(name, SLIDE_NAMES)), None)
        if column is None:
            passed_over.append(path.name)
            continue
        frame["slide of row"] = frame[column].astype(str).map(slide_id)
        frames.append(frame.assign(table=path.name))
    if not frames:
        raise StudyError(
            f"{folder}: no table has a column of slides ({', '.join(SLIDE_NAMES[:4])}, ...) and none of the "
            "files is a slide's features"
        )
    features = [str(name) for name in frames[0].select_dtypes("number") if all(name in frame for frame in frames)]
    rows = pd.concat(frames, ignore_index=True)
    _check(folder, rows, features)
    values = rows[features].to_numpy(dtype=np.float64)
    named = pd.DataFrame({"cohort": rows["table"], "patient_id": rows["slide of row"], "project": "", "kind": ""})
    on_one_scale = scaled(FeatureSet(folder.name, named, values), "pooled")
    for slide, vector in zip(rows["slide of row"], on_one_scale, strict=True):
        write_h5(out / FOLDER / f"{slide}.h5", vector[None], np.zeros((1, 2), np.int32))
    missing = float(np.isnan(values).mean())
    return WrittenVectors(out / FOLDER, len(rows), tuple(features), missing, tuple(passed_over))


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read as a table ({str(error).splitlines()[0]})") from error


def _check(folder: Path, rows: pd.DataFrame, features: list[str]) -> None:
    if not features:
        raise StudyError(f"{folder}: its tables share no column of numbers, so there are no features")
    twice = rows["slide of row"][rows["slide of row"].duplicated()]
    if len(twice):
        raise StudyError(f"{folder}: {len(twice)} slides are there twice, e.g. {twice.iloc[0]}; keep one row a slide")
    bad = [slide for slide in rows["slide of row"] if not is_plain_name(slide)]
    if bad:
        raise StudyError(f"{folder}: {bad[0][:80]!r} is no plain name of a slide; give names without / or folders")
