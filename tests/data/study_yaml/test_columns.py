"""A study's own tables are read as study.yaml says, and never by guessing."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_studies import SmallStudy

from cropkt.data.study import open_study
from cropkt.errors import StudyError

UUID = "600C7D8C-F04C-4125-AF14-B1E76DC01A1E"


def refusal(folder: Path) -> str:
    with pytest.raises(StudyError) as refused:
        open_study(folder)
    return str(refused.value)


def write(path: Path, rows: Sequence[Sequence[str]], delimiter: str = ",") -> None:
    with open(path, "w", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)


def published_rows() -> list[list[str]]:
    """The rows of the small study's table, without its header."""
    rows = []
    for number in range(12):
        patient = f"TCGA-AC-{number:04d}"
        for slide in range(1 + (number % 3 == 0)):
            rows.append(
                [patient, f"{patient}-01Z-00-DX{slide + 1}", str(100 + 10 * number), str(number % 2), "TCGA-ACC"]
            )
    return rows


def own_table() -> list[list[str]]:
    """The same table as a hospital might have it: months, words, other names, one more column of each kind."""
    rows = [["case_id", "slide_id", "os_months", "vital_status", "hospital", "age", "sex"]]
    for number, (patient, slide, time, event, _) in enumerate(published_rows()):
        months = f"{float(time) / 30.4375:.12g}"
        status = {"1": "Dead", "0": "Alive"}[event]
        rows.append([patient, f"{slide}.svs", months, status, "north", "" if number == 0 else str(50 + number), "F"])
    return rows


COLUMNS = {
    "patient": "case_id",
    "slide": "slide_id",
    "time": {"column": "os_months", "unit": "months"},
    "event": {"column": "vital_status", "event": "Dead"},
}


def mapped(small_study: Callable, **columns: object) -> SmallStudy:
    study = small_study("acc")
    write(study.labels("acc"), own_table())
    study.set(columns={**COLUMNS, **columns})
    return study


def test_a_table_of_ones_own_is_the_published_one_in_other_words(small_study: Callable) -> None:
    study = small_study("acc")
    published = open_study(study.folder).cohorts["acc"]
    write(study.labels("acc"), own_table())
    study.set(columns=COLUMNS)
    own = open_study(study.folder).cohorts["acc"]
    assert np.allclose(own.labels["time"], published.labels["time"], rtol=1e-9)
    assert own.labels["event"].tolist() == published.labels["event"].tolist()
    assert set(own.labels["project"]) == {"ACC"}
    pd.testing.assert_frame_equal(own.slides, published.slides)


@pytest.mark.parametrize("column", ["patient", "slide", "time", "event", "project"])
def test_a_mapping_of_one_column_keeps_the_others_of_the_published_tables(small_study: Callable, column: str) -> None:
    study = small_study("acc")
    published = open_study(study.folder).cohorts["acc"]
    place = ["patient", "slide", "time", "event", "project"].index(column)
    rows = [["patient_id", "pathology_id", "t", "e", "project"], *published_rows()]
    rows[0][place] = "own"
    write(study.labels("acc"), rows)
    own = {"time": {"column": "own", "unit": "days"}, "event": {"column": "own"}}
    study.set(columns={column: own.get(column, "own")})
    mapped = open_study(study.folder).cohorts["acc"]
    pd.testing.assert_frame_equal(mapped.labels, published.labels)
    pd.testing.assert_frame_equal(mapped.slides, published.slides)


@pytest.mark.parametrize(
    "columns",
    [
        {"patient": 3},
        {"patient": " "},
        {"time": {"unit": "days"}},
        {"event": {"event": "Dead"}},
        {"time": "days"},
        {"patients": "case_id"},
        [],
    ],
)
def test_a_mapping_that_is_wrong_is_told_before_any_table_is_read(small_study: Callable, columns: object) -> None:
    study = small_study("acc")
    study.set(columns=columns)
    message = refusal(study.folder)
    assert "study.yaml: columns" in message
    assert "(it has " not in message


@pytest.mark.parametrize(("unit", "days"), [("days", 1.0), ("months", 30.4375), ("years", 365.25)])
def test_units_of_time(small_study: Callable, unit: str, days: float) -> None:
    study = mapped(small_study, time={"column": "age", "unit": unit})
    table = own_table()
    write(study.labels("acc"), [table[0], *([*row[:5], "2", row[6]] for row in table[1:])])
    assert set(open_study(study.folder).cohorts["acc"].labels["time"]) == {2 * days}


CODINGS = {
    "words": ({"event": "dead"}, {"1": "Dead", "0": "Alive"}),
    "numbered words": ({"event": "1:DECEASED"}, {"1": "1:DECEASED", "0": "0:LIVING"}),
    "censorship": ({"censored": 1}, {"1": "0", "0": "1"}),
    "numbers of other kinds": ({"event": 1}, {"1": "1.0", "0": "0.0"}),
    "truth": ({"event": True}, {"1": "True", "0": "False"}),
    "one and two": ({"event": 2, "censored": 1}, {"1": "2", "0": "1"}),
    "none said": ({}, {"1": "1", "0": "0"}),
}


@pytest.mark.parametrize("case", CODINGS)
def test_codings_of_the_event(small_study: Callable, case: str) -> None:
    coding, values = CODINGS[case]
    study = mapped(small_study, event={"column": "vital_status", **coding})
    words = {"Dead": values["1"], "Alive": values["0"]}
    write(study.labels("acc"), [[words.get(cell, cell) for cell in row] for row in own_table()])
    assert open_study(study.folder).cohorts["acc"].labels["event"].tolist() == [0, 1] * 6


def test_several_values_of_each_kind(small_study: Callable) -> None:
    study = mapped(
        small_study, event={"column": "vital_status", "event": ["Dead", "dod"], "censored": ["Alive", "lost"]}
    )
    rows = own_table()
    rows[1][3] = rows[2][3] = "Lost"
    rows[3][3] = "DOD"
    write(study.labels("acc"), rows)
    assert open_study(study.folder).cohorts["acc"].labels["event"].tolist() == [0, 1] * 6


def test_a_third_value_is_never_guessed_at(small_study: Callable) -> None:
    study = mapped(small_study)
    rows = own_table()
    rows[3][3] = "Deceased"
    write(study.labels("acc"), rows)
    message = refusal(study.folder)
    assert (
        "vital_status is 'Deceased'; study.yaml has dead for an event, and the column several other values" in message
    )
    assert "list those under `censored` too" in message
    study.set(columns=COLUMNS | {"event": {"column": "vital_status", "event": "Dead", "censored": "Alive"}})
    message = refusal(study.folder)
    assert "row 4, patient TCGA-AC-0001, slide TCGA-AC-0001-01Z-00-DX1: vital_status is 'Deceased'" in message
    assert ": 1 fault;" in message


def test_patients_without_endpoint_are_faults_or_left_out_and_counted(small_study: Callable) -> None:
    study = mapped(small_study)
    rows = own_table()
    rows[3][2], rows[4][3] = "", "[Not Available]"  # patients with one slide each
    rows[7][3] = "NA"
    write(study.labels("acc"), rows)
    message = refusal(study.folder)
    assert (
        "row 4, patient TCGA-AC-0001, slide TCGA-AC-0001-01Z-00-DX1: os_months is empty; give the time in mo" in message
    )
    assert "or set `unmatched: leave_out`" in message
    study.set(unmatched="leave_out")
    opened = open_study(study.folder)
    assert len(opened.cohorts["acc"].labels) == 9
    assert opened.warnings == ("3 patients without time or event are left out (acc 3)",)


def test_an_endpoint_in_one_row_and_none_in_another_is_a_fault(small_study: Callable) -> None:
    study = mapped(small_study)
    rows = own_table()
    rows[2][2] = ""  # TCGA-AC-0000 has two slides
    write(study.labels("acc"), rows)
    study.set(unmatched="leave_out")
    assert "row 3, patient TCGA-AC-0000" in refusal(study.folder)
    assert "time or event is empty here and given in row 2" in refusal(study.folder)


def test_splits_may_name_patients_without_endpoint(small_study: Callable) -> None:
    study = small_study("acc")
    open_study(study.folder)
    study.set_cell("acc", 4, "t", "")
    study.set(unmatched="leave_out")
    opened = open_study(study.folder)
    assert opened.warnings == ("1 patients without time or event are left out (acc 1)",)
    assert all("TCGA-AC-0001" not in (*fold.train, *fold.test) for fold in opened.cohorts["acc"].folds)


@pytest.mark.parametrize("date", ["2011-05-03", "03.05.2011", "5/3/11", "2011-05-03 00:00:00"])
def test_a_date_is_no_time(small_study: Callable, date: str) -> None:
    study = mapped(small_study)
    rows = own_table()
    rows[3][2] = date
    write(study.labels("acc"), rows)
    assert f"os_months is {date!r}, a date; give the months between diagnosis and that date" in refusal(study.folder)


def test_clinical_columns_and_sites_are_kept(small_study: Callable) -> None:
    study = mapped(small_study, clinical=["age", "sex"])
    clinical = open_study(study.folder).cohorts["acc"].clinical
    labels = open_study(study.folder).cohorts["acc"].labels
    assert list(clinical.columns) == ["site", "age", "sex"]
    assert clinical.index.equals(labels.index)
    assert set(clinical["site"]) == {"AC"}  # of the barcode
    assert clinical["age"].tolist()[:2] == [51.0, 52.0]  # the first row of the first patient has none, the second 51
    assert clinical["age"].dtype == np.float64
    assert set(clinical["sex"]) == {"F"}
    study.set(columns=COLUMNS | {"site": "hospital", "clinical": ["age"]})
    assert set(open_study(study.folder).cohorts["acc"].clinical["site"]) == {"north"}


def test_clinical_values_that_differ_are_counted_and_missing_ones_are_missing(small_study: Callable) -> None:
    study = mapped(small_study, clinical=["age", "sex"])
    rows = own_table()
    rows[1][5], rows[3][6], rows[4][5] = "17", "[Not Available]", "unknown"
    write(study.labels("acc"), rows)
    opened = open_study(study.folder)
    clinical = opened.cohorts["acc"].clinical
    assert clinical.loc["TCGA-AC-0000", "age"] == 17
    assert clinical.loc["TCGA-AC-0001", "sex"] == ""
    assert np.isnan(clinical.loc["TCGA-AC-0002", "age"])
    # Patients with two slides have two ages in this table.
    assert opened.warnings == ("4 patients differ between rows in a clinical column; the first value counts (acc 4)",)


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".csv", ";"), (".tsv", "\t"), (".txt", "\t")])
def test_tables_of_other_kinds(small_study: Callable, suffix: str, delimiter: str) -> None:
    study = mapped(small_study)
    study.labels("acc").unlink()
    path = study.labels("acc").with_suffix(suffix)
    write(path, own_table(), delimiter)
    path.write_text("#cBioPortal's first lines\n#STRING\n" + path.read_text())
    study.set(labels="labels/{cohort}" + suffix)
    assert len(open_study(study.folder).cohorts["acc"].labels) == 12
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("Alive", "Alice").replace("Dead", "Alice")
    path.write_text("\n".join(lines))
    assert f"labels/acc{suffix}, row 4, patient TCGA-AC-0000" in refusal(study.folder)


def test_a_parquet_table_with_numbers_and_missing_values(small_study: Callable) -> None:
    study = small_study("acc")
    frame = pd.read_csv(study.labels("acc")).assign(age=[np.nan, *range(50, 65)], dead=lambda table: table["e"] == 1)
    frame["t"] = frame["t"].astype("float64")
    study.labels("acc").unlink()
    frame.to_parquet(study.labels("acc").with_suffix(".parquet"))
    columns = {
        "patient": "patient_id",
        "slide": "pathology_id",
        "time": {"column": "t", "unit": "days"},
        "event": {"column": "dead"},
        "project": "project",
        "clinical": ["age"],
    }
    study.set(labels="labels/{cohort}.parquet", columns=columns)
    cohort = open_study(study.folder).cohorts["acc"]
    assert cohort.labels["time"].tolist() == [100.0 + 10 * number for number in range(12)]
    assert cohort.labels["event"].tolist() == [0, 1] * 6
    assert cohort.clinical["age"].tolist()[:2] == [50.0, 51.0]


def test_a_row_with_more_cells_than_columns_is_named(small_study: Callable) -> None:
    study = small_study("acc")
    text = study.labels("acc").read_text().replace("TCGA-ACC", "TCGA-ACC,,", 1)
    study.labels("acc").write_text(text)
    open_study(study.folder)  # empty cells at the end say nothing
    study.labels("acc").write_text(text.replace("TCGA-ACC", "TCGA-ACC,x", 1))
    assert "labels/acc.csv: row 2 has 8 cells, the header 5; put cells that hold ',' in quotes" in refusal(study.folder)


def test_two_columns_of_a_name_are_refused(small_study: Callable) -> None:
    study = small_study("acc")
    study.labels("acc").write_text(study.labels("acc").read_text().replace("project", "t", 1))
    assert "labels/acc.csv: has two columns t; remove or rename one" in refusal(study.folder)


def test_projects_tables_are_joined_to_a_cohort(small_study: Callable) -> None:
    study = small_study("kipan")
    joined = open_study(study.folder).cohorts["kipan"]
    header, *rows = study.rows("kipan")
    for project in ("kirc", "kirp", "kich"):
        of_project = [row[:4] for row in rows if row[4] == f"TCGA-{project.upper()}"]
        study.write_rows(project, [header[:4], *of_project])
    study.labels("kipan").unlink()
    columns = {
        "patient": "patient_id",
        "slide": "pathology_id",
        "time": {"column": "t", "unit": "days"},
        "event": {"column": "e"},
    }
    study.set(cohorts={"kipan": ["kirc", "kirp", "kich"]}, columns=columns)
    cohort = open_study(study.folder).cohorts["kipan"]
    assert cohort.labels["time"].equals(joined.labels["time"])
    assert set(cohort.labels["project"]) == {"KIRC", "KIRP", "KICH"}
    assert cohort.slides["path"].tolist() == joined.slides["path"].tolist()
    study.labels("kirp").unlink()
    assert "labels/kirp.csv: there is no such file" in refusal(study.folder)


def test_a_patient_in_two_joined_tables_needs_one_label_and_the_message_names_both(small_study: Callable) -> None:
    study = small_study("acc")
    header, first, *rest = study.rows("acc")
    study.write_rows("one", [header, first])
    study.write_rows("two", [header, [*rest[0][:2], "7", *rest[0][3:]], *rest[1:]])
    study.set(cohorts={"acc": ["one", "two"]})
    message = refusal(study.folder)
    assert (
        "labels/two.csv, row 2, patient TCGA-AC-0000, slide TCGA-AC-0000-01Z-00-DX2: t is 7 here and 100 in row 2 of"
        in message
    )
    assert "in row 2 of labels/one.csv; all rows of a patient need the same label" in message


def test_labels_in_two_folders(small_study: Callable) -> None:
    study = small_study("acc", "uvm")
    (study.folder / "more").mkdir()
    study.labels("uvm").rename(study.folder / "more" / "uvm.csv")
    study.set(labels=["labels/{cohort}.csv", "more/{cohort}.csv"])
    assert list(open_study(study.folder).cohorts) == ["uvm", "acc"]


def test_one_table_for_all_cohorts(small_study: Callable) -> None:
    study = small_study("acc", "uvm")
    rows = [[*study.rows("acc")[0], "cancer"]]
    rows += [[*row, f"TCGA-{code.upper()}"] for code in ("acc", "uvm") for row in study.rows(code)[1:]]
    write(study.folder / "all.csv", [*rows, ["P", "S", "5", "1", "x", "elsewhere"]])
    columns = {
        "patient": "patient_id",
        "slide": "pathology_id",
        "time": {"column": "t", "unit": "days"},
        "event": {"column": "e"},
        "cohort": "cancer",
    }
    study.set(labels="all.csv", columns=columns)
    opened = open_study(study.folder)
    assert {code: len(cohort.labels) for code, cohort in opened.cohorts.items()} == {"uvm": 12, "acc": 12}
    assert set(opened.cohorts["uvm"].labels["project"]) == {"UVM"}
    study.set(cohorts=["acc", "brca"])
    assert "all.csv: column cancer has no row of brca; mend that column, or leave the cohort out" in refusal(
        study.folder
    )
    study.set(cohorts=None, columns=columns | {"cohort": "project"})
    assert list(open_study(study.folder).cohorts) == ["uvm", "acc"]
    study.set(columns=columns | {"cohort": "e"})
    assert "its column e names no cohort of the registry (it has 0, 1)" in refusal(study.folder)


def test_a_patients_slides_are_found_by_name_where_no_column_names_them(small_study: Callable) -> None:
    study = small_study("acc")
    published = open_study(study.folder).cohorts["acc"].slides
    patients = list({row[0]: row for row in study.rows("acc")[1:]}.values())
    study.write_rows("acc", [["case_id", "t", "dead"], *([row[0], row[2], row[3]] for row in patients)])
    columns = {"patient": "case_id", "time": {"column": "t", "unit": "days"}, "event": {"column": "dead"}}
    study.set(columns=columns)
    slides = open_study(study.folder).cohorts["acc"].slides
    pd.testing.assert_frame_equal(slides, published)
    for path in published["path"][:1]:
        Path(path).rename(Path(path).with_name("unknown.h5"))
    study.features("ACC", "TCGA-AC-0000-01Z-00-DX2").unlink()
    message = refusal(study.folder)
    assert "row 2, patient TCGA-AC-0000: no features: no file's name begins with the patient's id" in message
    assert "slide unknown: slide without patient" in message


def test_slides_of_ids_that_begin_alike_are_told_apart(small_study: Callable) -> None:
    study = small_study("acc")
    study.write_rows("acc", [["case_id", "t", "dead"], ["P-7", "5", "1"], ["p-71", "6", "0"], ["P-8.1", "7", "0"]])
    for path in study.folder.glob("features/*/*.h5"):
        path.unlink()
    for slide in ("P-7_a", "P-7.2", "P-71-a", "P-8.1", "P-8.1_b"):
        study.write_slide("ACC", slide, np.zeros((2, 6), np.float32))
    columns = {"patient": "case_id", "time": {"column": "t", "unit": "days"}, "event": {"column": "dead"}}
    study.set(columns=columns, folds=2)
    slides = open_study(study.folder).cohorts["acc"].slides
    found = {patient: sorted(group["slide"]) for patient, group in slides.groupby("patient_id")}
    assert found == {"P-7": ["P-7.2", "P-7_a"], "p-71": ["P-71-a"], "P-8.1": ["P-8.1", "P-8.1_b"]}


@pytest.mark.parametrize(
    "ending", [".svs", ".ndpi", ".tif", ".tiff", ".mrxs", ".h5", ".pt", f".{UUID}.svs", f".{UUID}", ".SVS"]
)
@pytest.mark.parametrize("file_ending", ["", f".{UUID}", ".svs"])
def test_endings_of_slides_are_tolerated_on_both_sides(small_study: Callable, ending: str, file_ending: str) -> None:
    study = small_study("acc")
    for path in study.folder.glob("features/*/*.h5"):
        path.rename(path.with_name(f"{path.stem}{file_ending}.h5"))
    header, *rows = study.rows("acc")
    study.write_rows("acc", [header, *([row[0], row[1] + ending, *row[2:]] for row in rows)])
    cohort = open_study(study.folder).cohorts["acc"]
    assert len(cohort.slides) == 16
    assert cohort.slides["slide"][0] == "TCGA-AC-0000-01Z-00-DX1"


def test_features_in_several_folders(small_study: Callable) -> None:
    study = small_study("acc", "uvm")
    moved = study.folder / "TCGA-ACC_MORE"
    moved.mkdir()
    for path in list(study.folder.glob("features/TCGA-ACC/*.h5"))[:5]:
        path.rename(moved / path.name)
    patterns = ["features/TCGA-{project}/{slide}.h5", "TCGA-{project}_MORE/{slide}.h5"]
    study.set(encoders={"x": {"dim": 6, "features": patterns}})
    assert len(open_study(study.folder).cohorts["acc"].slides) == 16
    moved.rename(study.folder / "features" / "TCGA-ACC_OTHERS")
    study.set(encoders={"x": {"dim": 6, "features": "features/TCGA-{project}*/{slide}.h5"}})
    assert len(open_study(study.folder).cohorts["acc"].slides) == 16
    study.set(encoders={"x": {"dim": 6, "features": patterns[:1]}})
    assert "there is no features/TCGA-ACC/TCGA-AC-" in refusal(study.folder)


def test_a_folder_for_each_slide(small_study: Callable) -> None:
    study = small_study("acc")
    for number, path in enumerate(sorted(study.folder.glob("features/*/*.h5"))):
        folder = study.folder / "gdc" / f"uuid-{number}"
        folder.mkdir(parents=True)
        path.rename(folder / f"{path.stem}.{UUID}.h5")
    study.set(encoders={"x": {"dim": 6, "features": "gdc/*/{slide}.h5"}})
    assert len(open_study(study.folder).cohorts["acc"].slides) == 16
    copy = study.folder / "gdc" / "uuid-0"
    (study.folder / "gdc" / "again").mkdir()
    name = next(copy.iterdir()).name
    (study.folder / "gdc" / "again" / name).write_bytes((copy / name).read_bytes())
    assert f"2 feature files: gdc/again/{name}, gdc/uuid-0/{name}; keep one" in refusal(study.folder)


def test_a_study_folder_with_the_letters_of_patterns_in_its_name(small_study: Callable, tmp_path: Path) -> None:
    study = small_study("acc")
    moved = tmp_path / "study [1] *"
    study.folder.rename(moved)
    assert len(open_study(moved).cohorts["acc"].slides) == 16
    again = SmallStudy(moved)
    again.set(encoders={"x": {"dim": 6, "features": "features/*/{slide}.h5"}})
    assert len(open_study(moved).cohorts["acc"].slides) == 16
