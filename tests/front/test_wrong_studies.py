"""docs/wrong_studies.md, row by row: each wrong study is broken so, checked, and says what the page says."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_studies import DIM, SmallStudy, write_study

from cropkt.data.study import open_study
from cropkt.experiments.commands import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "wrong_studies.md"
SLIDE = "TCGA-AC-0001-01Z-00-DX1"
SLIDE_OF_TWO = "TCGA-AC-0000-01Z-00-DX"
FLAGS = {
    "unknown encoder": ["--encoder", "uni2"],
    "unknown cohort": ["--cohorts", "uvm"],
    "NaN in a slide (`--deep`)": ["--deep"],
}


def rows_of_page() -> dict[str, tuple[str, str]]:
    """By cause: the answer and the words of the message."""
    cells = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {cause: (answer, message) for cause, answer, message, _ in cells[1:]}


def column(study: SmallStudy, name: str, cell: Callable[[int, int], str]) -> None:
    """Set a column of every row: `cell` has the patient's number and the time."""
    rows = study.rows("acc")
    for row in rows[1:]:
        row[rows[0].index(name)] = cell(int(row[0].rsplit("-", 1)[1]), int(row[2]))
    study.write_rows("acc", rows)


def replace_table(study: SmallStudy, old: str, new: str) -> None:
    study.labels("acc").write_text(study.labels("acc").read_text().replace(old, new, 1))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def set_encoder(study: SmallStudy, **keys: object) -> None:
    encoder = study.settings()["encoders"]["uni2-h"]
    study.set(encoders={"uni2-h": encoder | keys})


def spreadsheet(study: SmallStudy) -> None:
    study.labels("acc").with_suffix(".xlsx").write_bytes(b"PK")
    study.set(labels="labels/{cohort}.xlsx")


def features(study: SmallStudy, values: np.ndarray) -> None:
    study.write_slide("ACC", SLIDE, values)


def another_slide(study: SmallStudy, part: str) -> None:
    """A slide more of a patient, of another part of the barcode."""
    rows = study.rows("acc")
    slide = f"{rows[2][0]}-{part}"
    study.write_slide("ACC", slide, np.ones((2, DIM), np.float32))
    study.write_rows("acc", [*rows, [rows[2][0], slide, *rows[2][2:]]])


def split(study: SmallStudy, text: str | None) -> None:
    """Have splits made, then give the first one another text, or remove the last."""
    open_study(study.folder)
    if text is None:
        study.split("acc", 2).unlink()
    else:
        study.split("acc", 0).write_text(text)


def train_in_test(study: SmallStudy) -> None:
    open_study(study.folder)
    tested = study.split("acc", 0).read_text().splitlines()[1].split(",")[1]
    split(study, study.split("acc", 0).read_text() + f"{tested},\n")


def empty_test(study: SmallStudy) -> None:
    split(study, "train,test\n" + "".join(f"{patient},\n" for patient in all_of(study)))


def all_of(study: SmallStudy) -> list[str]:
    return sorted({row[0] for row in study.rows("acc")[1:]})


def slides_on_both_sides(study: SmallStudy) -> None:
    """The first patient has two slides; one is for training, one for testing."""
    rest = "".join(f"{patient},\n" for patient in all_of(study)[1:9])
    split(study, f"train,test\n{SLIDE_OF_TWO}1,{SLIDE_OF_TWO}2\n{rest}")


def one_test_twice(study: SmallStudy) -> None:
    open_study(study.folder)
    split(
        study,
        study.split("acc", 1).read_text() + f",{study.split('acc', 0).read_text().splitlines()[1].split(',')[1]}\n",
    )


def emptied_fold(study: SmallStudy) -> None:
    """All features of the first fold's test patients are missing."""
    tested = open_study(study.folder).cohorts["acc"].folds[0].test
    for path in (study.folder / "features" / "TCGA-ACC").iterdir():
        if path.name.startswith(tested):
            path.unlink()
    study.set(unmatched="leave_out")


def encoder_in_files(study: SmallStudy, *names: str) -> None:
    for number, path in enumerate(sorted((study.folder / "features" / "TCGA-ACC").iterdir())):
        with h5py.File(path, "a") as file:
            file.attrs["encoder"] = names[number % len(names)]


def no_features(study: SmallStudy) -> None:
    with h5py.File(study.features("ACC", SLIDE), "w") as file:
        file["tiles"] = np.zeros((2, DIM), np.float32)


def two_files(study: SmallStudy) -> None:
    plain = study.features("ACC", SLIDE)
    for uuid in ("AAAA", "BBBB"):
        plain.with_name(f"{SLIDE}.{uuid}.h5").write_bytes(plain.read_bytes())
    plain.unlink()


def few_patients(study: SmallStudy) -> None:
    study.write_rows("acc", study.rows("acc")[:6])
    study.set(folds=5, unmatched="leave_out")


def alias_bomb(study: SmallStudy) -> None:
    lines = ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20))]
    (study.folder / "study.yaml").write_text("\n".join(lines))


BREAK: dict[str, Callable[[SmallStudy], object]] = {
    "no study.yaml": lambda study: (study.folder / "study.yaml").unlink(),
    "misspelt key": lambda study: study.set(fold=3),
    "YAML alias bomb": alias_bomb,
    "study.yaml nested deep": lambda study: (study.folder / "study.yaml").write_text("name: " + "[" * 60 + "]" * 60),
    "mapping without a column's name": lambda study: study.set(columns={"time": {"unit": "months"}}),
    "unit that is none": lambda study: study.set(columns={"time": {"column": "t", "unit": "weeks"}}),
    "study.yaml of 20 MB": lambda study: (study.folder / "study.yaml").write_text("# " + "x" * 20_000_000),
    "pattern with a huge width": lambda study: study.set(labels="{cohort:>999999999}.csv"),
    "labels without {cohort}": lambda study: study.set(labels="labels.csv"),
    "named pipe as label table": lambda study: pipe(study.labels("acc")),
    "spreadsheet as label table": spreadsheet,
    "no label table": lambda study: study.labels("acc").unlink(),
    "column missing": lambda study: replace_table(study, ",t,", ",time,"),
    "two columns of one name": lambda study: replace_table(study, ",e,", ",t,"),
    "negative time": lambda study: study.set_cell("acc", 4, "t", "-3"),
    "date as time": lambda study: study.set_cell("acc", 4, "t", "2011-05-01"),
    "event in words": lambda study: study.set_cell("acc", 4, "e", "Dead"),
    "patient without a time": lambda study: study.set_cell("acc", 4, "t", ""),
    "text in another encoding": lambda study: study.labels("acc").write_bytes(b"patient_id,m\xe9decin\n"),
    "more cells than the header has": lambda study: replace_table(study, ",0,", ",0,a,b,"),
    "patient with two times": lambda study: study.set_cell("acc", 2, "t", "7"),
    "slide of two patients": lambda study: study.set_cell("acc", 4, "pathology_id", "TCGA-AC-0000-01Z-00-DX1"),
    "id that leaves its folder": lambda study: study.set_cell("acc", 4, "pathology_id", "../escape"),
    "no feature folder": lambda study: set_encoder(study, features="elsewhere/{slide}.h5"),
    "patient without features": lambda study: study.features("ACC", SLIDE).unlink(),
    "feature file without patient": lambda study: study.write_slide(
        "ACC", "TCGA-XX-9999-01Z-00-DX1", np.ones((2, DIM))
    ),
    "two files of a slide": two_files,
    "encoder of another width": lambda study: set_encoder(study, dim=1536),
    "unknown encoder": lambda _: None,
    "unknown cohort": lambda _: None,
    "patient in train and test": train_in_test,
    "too few split files": lambda study: split(study, None),
    "split file with train and val": lambda study: split(study, "train,val\nTCGA-AC-0001,TCGA-AC-0002\n"),
    "split files of another cohort": lambda study: split(study, "train,test\nQ-1,Q-2\nQ-3,Q-4\n"),
    "split files of slides that share a patient": slides_on_both_sides,
    "patient tested in two folds": one_test_twice,
    "fold without training patients": lambda study: split(
        study, "train,test\n" + "".join(f",{p}\n" for p in all_of(study))
    ),
    "fold emptied by missing features": emptied_fold,
    "fold without test patients": empty_test,
    "fewer patients than folds": few_patients,
    "named pipe as slide": lambda study: pipe(study.features("ACC", SLIDE)),
    "empty slide file": lambda study: study.features("ACC", SLIDE).write_bytes(b""),
    "one slide of another width": lambda study: features(study, np.ones((2, DIM + 1), np.float32)),
    "slide that holds no features": no_features,
    "NaN in a slide (`--deep`)": lambda study: features(study, np.full((2, DIM), np.nan, np.float32)),
    "months taken for days": lambda study: column(study, "t", lambda n, _: str(20 + n)),
    "parts of days": lambda study: column(study, "t", lambda n, _: f"{600 + n}.37"),
    "dates of a spreadsheet": lambda study: column(study, "t", lambda n, _: str(38_000 + n)),
    "events inverted": lambda study: column(study, "e", lambda n, _: str(int(n >= 6))),
    "most patients with an event": lambda study: column(study, "e", lambda n, _: str(int(n < 10))),
    "few events": lambda study: column(study, "e", lambda n, _: str(int(n < 3))),
    "encoder named otherwise in the files": lambda study: encoder_in_files(study, "conch_v15"),
    "two encoders in one folder": lambda study: encoder_in_files(study, "uni_v2", "conch_v15"),
    "frozen sections beside diagnostic slides": lambda study: another_slide(study, "01A-01-TS1"),
    "slides of normal tissue": lambda study: another_slide(study, "11A-01-TS1"),
    "table of no cohort": lambda study: (
        study.set(cohorts=["acc"]) or study.labels("acc").with_name("other.csv").write_text("a,b\n")
    ),
}


def test_the_page_has_every_wrong_study_and_no_other() -> None:
    assert list(rows_of_page()) == list(BREAK)
    assert len(BREAK) >= 30


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """valid(*flags): the study is fine, with these flags, before a test breaks it."""
    study = write_study(tmp_path_factory.mktemp("valid") / "study", "acc")

    @cache
    def check(*flags: str) -> None:
        assert main(["check", str(study.folder), *flags]) == 0

    return check


@pytest.mark.parametrize("cause", BREAK)
def test_a_wrong_study_says_what_the_page_says(
    cause: str, valid: Callable[..., None], small_study: Callable[..., SmallStudy], capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study("acc")
    flags = FLAGS.get(cause, [])
    valid(*([] if "unknown" in cause else flags))
    capsys.readouterr()
    BREAK[cause](study)
    answer, expected = rows_of_page()[cause]
    code = main(["check", str(study.folder), *flags])
    told = capsys.readouterr()
    assert code == (2 if answer == "refused" else 0), told.err
    if answer == "refused":
        assert expected in told.err
        assert told.err.startswith("error: ")
        assert "Traceback" not in told.err
    else:
        heading = "slides that cannot be used" if answer == "left out" else "may be wrong"
        assert expected in told.out[told.out.index(heading) :]
