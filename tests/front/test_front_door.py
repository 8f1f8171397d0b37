"""Each published layout with a table of its kind opens by `cropkt init` and `cropkt check`, with no editing by hand."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from published_layouts import (
    DAYS_A_MONTH,
    WIDTH,
    Person,
    cbioportal,
    clam,
    gdc,
    mcat,
    months,
    people,
    stamp,
    trident,
    uni2h_archive,
    values,
    write_h5,
    write_table,
    zarr_stores,
)

from cropkt.data.study import open_study
from cropkt.experiments.commands import main

PERSONS = people()


@dataclass(frozen=True)
class Door:
    """What `init` is given, and what must come of it; `tolerance` in days, as tables round months."""

    arguments: Sequence[Path | str]
    cohort: str
    encoder: str
    unreadable: int = 0
    tolerance: float = 1e-6


def trident_h5(folder: Path) -> Door:
    table = cbioportal(folder / "brca_tcga_pan_can_atlas_2018" / "data_clinical_patient.txt", PERSONS)
    return Door([trident(folder / "trident", PERSONS), table], "brca", "uni_v2")


def trident_pt(folder: Path) -> Door:
    table = cbioportal(folder / "brca_tcga" / "data_clinical_patient.txt", PERSONS, dss=True)
    return Door([trident(folder / "trident", PERSONS, pt=True), table, "--endpoint", "dss"], "brca", "uni_v2")


def clam_mcat(folder: Path) -> Door:
    table = mcat(folder / "tcga_blca_all_clean.csv", PERSONS)
    return Door([clam(folder / "clam", PERSONS), table], "blca", f"clam-{WIDTH}", tolerance=0.006 * DAYS_A_MONTH)


def archive(folder: Path) -> Door:
    table = cbioportal(folder / "brca_tcga" / "data_clinical_patient.txt", PERSONS)
    arguments = [uni2h_archive(folder / "UNI2-h", PERSONS), table, "--encoder", "uni2-h"]
    return Door(arguments, "brca", "uni2-h", unreadable=10)


def gdc_samples(folder: Path) -> Door:
    table = cbioportal(folder / "acc_tcga" / "data_clinical_sample.txt", PERSONS, samples=True)
    return Door([gdc(folder / "gdc", PERSONS), table], "acc", f"gdc-{WIDTH}")


def stamp_tables(folder: Path) -> Door:
    """Ids that have nothing in common with the slides': whose slide is whose is in a table of its own."""
    names = [f"B{number:03d}" for number in range(len(PERSONS))]
    clini = write_table(
        folder / "chol_clini.csv", ["PATIENT", "OS_DAYS", "OS"], [[p.patient, p.days, p.event] for p in PERSONS]
    )
    rows = [[person.patient, f"{name}.h5"] for person, name in zip(PERSONS, names, strict=True)]
    slides = write_table(folder / "slide_table.csv", ["PATIENT", "FILENAME"], rows)
    return Door([stamp(folder / "stamp", names), clini, slides], "chol", "mahmood-uni2")


def private(folder: Path) -> Door:
    for number in range(len(PERSONS)):
        write_h5(folder / "features" / f"H{number:03d}_HE_1.h5", values(seed=number))
    rows = [[f"H{number:03d}", months(person.days), person.event] for number, person in enumerate(PERSONS)]
    table = write_table(folder / "lausanne.csv", ["case_id", "os_months", "dead"], rows)
    return Door([folder / "features", table], "lausanne", f"plain-{WIDTH}")


def zarr(folder: Path) -> Door:
    table = mcat(folder / "tcga_uvm_all_clean.csv", PERSONS)
    return Door([zarr_stores(folder / "zarr", PERSONS), table], "uvm", f"plain-{WIDTH}", tolerance=0.006 * DAYS_A_MONTH)


DOORS = [trident_h5, trident_pt, clam_mcat, archive, gdc_samples, stamp_tables, private, zarr]


def opened(arguments: Sequence[Path | str], out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `check --json` says of the study that `init` writes."""
    assert main(["init", *map(str, arguments), "--out", str(out)]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out.splitlines()
    assert 6 <= len(told) <= 14, told
    assert main(["check", str(out)]) == 0, capsys.readouterr().err
    assert "device     " in capsys.readouterr().out
    assert main(["check", str(out), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document["study"]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_published_layout_opens_without_editing(
    door: Callable[[Path], Door], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = door(tmp_path), tmp_path / "study"
    check = opened(given.arguments, out, capsys)
    (cohort,) = check["cohorts"]
    events = sum(person.event for person in PERSONS)
    assert (cohort["code"], check["encoder"], check["width"]) == (given.cohort, given.encoder, WIDTH)
    assert (cohort["patients"], cohort["events"], cohort["slides"]) == (30, events, 30)
    assert sum(bad["slides"] for bad in cohort["unreadable"]) == given.unreadable
    assert cohort["patches"] == 3 * (30 - given.unreadable)
    labels = open_study(out).cohorts[given.cohort].labels
    assert list(labels["event"]) == [person.event for person in PERSONS]
    assert np.allclose(labels["time"], [person.days for person in PERSONS], atol=given.tolerance, rtol=0)
    assert not [found for found in check["suspicions"] if found["kind"] in ("another encoder", "two encoders")]


def test_real_slides_with_missing_values_open(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pathologists' readings of frozen slides of 2 cohorts, with the labels of 26."""
    features = tmp_path / "pathologist_slides"
    features.mkdir()
    whole, codes = real_data / "features" / "pathologist_slides", ("stes", "paad")
    for code in codes:
        (features / f"{code}.parquet").symlink_to(whole / f"{code}.parquet")
    tables = sorted((real_data / "labels").glob("*_survival.csv"))
    assert main(["init", str(features), *map(str, tables), "--out", str(tmp_path / "study")]) == 0
    assert "% of the values were missing" in capsys.readouterr().out
    study = open_study(tmp_path / "study")
    expected = pd.read_csv(whole / "counts.csv").set_index("cohort")
    assert tuple(study.cohorts) == codes
    for code, cohort in study.cohorts.items():
        counts = expected.loc[code]
        assert (len(cohort.labels), cohort.labels["event"].sum()) == (counts["patients_with_dss"], counts["events"]), (
            code
        )


def test_two_broken_readings_of_one_table_are_not_guessed_between(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cbioportal(tmp_path / "brca_tcga" / "data_clinical_patient.txt", PERSONS, dss=True)
    given = ["init", str(trident(tmp_path / "f", PERSONS)), str(table), "--out", str(tmp_path / "study")]
    assert main(given) == 2
    message = capsys.readouterr().err
    assert "the endpoint: 2 readings are possible; give one of" in message
    assert "--endpoint DSS   (DSS_MONTHS with DSS_STATUS)" in message
    assert not (tmp_path / "study").exists()


def table_of(folder: Path, header: Sequence[str], row: Callable[[Person], Sequence[Any]]) -> list[str]:
    """`init`'s arguments for features by TRIDENT and a table with a row for each patient."""
    table = write_table(folder / "acc.csv", header, [row(person) for person in PERSONS])
    return ["init", str(trident(folder / "f", PERSONS)), str(table), "--out", str(folder / "study")]


AMBIGUOUS = {
    "unit": (
        ["case_id", "os_time", "os"],
        lambda p: [p.patient, f"{p.days / 36525:.4f}", p.event],
        ["the unit of os_time: 3 readings are possible", "--time-unit months"],
        ["--time-unit", "years"],
    ),
    "months too long": (
        ["case_id", "os_months", "os"],
        lambda p: [p.patient, p.days, p.event],
        ["the unit of os_months: 3 readings are possible", "which is 324 years"],
        ["--time-unit", "days"],
    ),
    "vital status": (
        ["case_id", "os_days", "vital_status"],
        lambda p: [p.patient, p.days, p.event],
        [
            "the value of vital_status that means an event: 2 readings are possible",
            "--event-value 0   (if 1 means alive)",
        ],
        ["--event-value", "1"],
    ),
    "1 and 2": (
        ["case_id", "os_days", "status"],
        lambda p: [p.patient, p.days, 1 + p.event],
        ["the value of status that means an event: 2 readings are possible", "R's survival package"],
        ["--event-value", "2"],
    ),
    "two times": (
        ["case_id", "os_days", "os_months", "os"],
        lambda p: [p.patient, p.days, months(p.days), p.event],
        ["the time: 2 readings are possible", "--time os_days", "--time os_months"],
        ["--time", "os_days"],
    ),
    "unknown names": (
        ["case_id", "how_long", "how_ended"],
        lambda p: [p.patient, p.days, ("well", "ill")[p.event]],
        ["no column of time is known by its name (it has case_id, how_long, how_ended); name it: --time COLUMN"],
        ["--time", "how_long", "--event", "how_ended", "--event-value", "ill", "--time-unit", "days"],
    ),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_needs_a_flag(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, row, expected, flags = AMBIGUOUS[case]
    arguments = table_of(tmp_path, header, row)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in expected), message
    assert main([*arguments, *flags]) == 0, capsys.readouterr().err
    labels = open_study(tmp_path / "study").cohorts["acc"].labels
    assert list(labels["event"]) == [person.event for person in PERSONS]


def test_what_does_not_match_is_counted_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cbioportal(tmp_path / "acc_tcga" / "patients.txt", PERSONS[5:])
    features = trident(tmp_path / "f", PERSONS[:28])
    assert main(["init", str(features), str(table), "--out", str(tmp_path / "study")]) == 0
    told = capsys.readouterr().out
    assert "acc: 23 of 25 patients have 23 slides" in told
    assert "2 patients without a slide, e.g. TCGA-ZX-0028, TCGA-ZX-0029" in told
    assert "5 slides without a patient, e.g. TCGA-ZX-0000-01Z-00-DX1, TCGA-ZX-0001-01Z-00-DX1, " in told
    assert yaml.safe_load((tmp_path / "study" / "study.yaml").read_text())["unmatched"] == "leave_out"
    assert len(open_study(tmp_path / "study").cohorts["acc"].labels) == 23


def test_nothing_that_matches_is_an_error_with_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cbioportal(tmp_path / "acc_tcga" / "patients.txt", people(code="QQ"))
    assert main(["init", str(trident(tmp_path / "f", PERSONS)), str(table), "--out", str(tmp_path / "study")]) == 2
    message = capsys.readouterr().err
    assert "no slide is any patient's by its name. Slides: TCGA-ZX-0000-01Z-00-DX1, " in message
    assert "patients: TCGA-QQ-0000, " in message


def test_a_study_that_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = private(tmp_path)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.yaml").write_text("name: mine")
    assert main(["init", *map(str, given.arguments), "--out", str(tmp_path / "study")]) == 2
    assert "study.yaml is there already; give --out another folder" in capsys.readouterr().err
    assert (tmp_path / "study" / "study.yaml").read_text() == "name: mine"


def test_a_private_cohort_beside_tcga(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables of different columns and units become one study, in days."""
    features = trident(tmp_path / "features", PERSONS)
    for number in range(len(PERSONS)):
        path = features / "20x_256px_0px_overlap" / "features_uni_v2" / f"H{number:03d}_HE.h5"
        write_h5(path, values(seed=number), encoder="uni_v2")
    rows = [[f"H{number:03d}", person.days, person.event] for number, person in enumerate(PERSONS)]
    own = write_table(tmp_path / "lausanne.csv", ["case_id", "days", "dead"], rows)
    tcga = cbioportal(tmp_path / "brca_tcga" / "data_clinical_patient.txt", PERSONS)
    check = opened([features, own, tcga], tmp_path / "study", capsys)
    assert [cohort["code"] for cohort in check["cohorts"]] == ["brca", "lausanne"]
    study = open_study(tmp_path / "study")
    for cohort in study.cohorts.values():
        assert np.allclose(cohort.labels["time"], [person.days for person in PERSONS], atol=1e-5)
        assert list(cohort.labels["event"]) == [person.event for person in PERSONS]


def test_tables_of_single_projects_are_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for number, project in enumerate(("KIRC", "KIRP", "KICH")):
        some = people(12, code=f"Z{number}")
        trident(tmp_path / "f", some)
        tables.append(cbioportal(tmp_path / f"{project}_clinical.tsv", some))
    check = opened([tmp_path / "f", *tables], tmp_path / "study", capsys)
    ((code, patients),) = [(cohort["code"], cohort["patients"]) for cohort in check["cohorts"]]
    assert (code, patients) == ("kipan", 36)
    assert set(open_study(tmp_path / "study").cohorts["kipan"].labels["project"]) == {"KIRC", "KIRP", "KICH"}


def test_one_table_of_all_cohorts_is_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = {"ACC": people(12, code="Z0"), "KIRC": people(12, code="Z1"), "KICH": people(12, code="Z2")}
    for persons in groups.values():
        trident(tmp_path / "f", persons)
    header = ["bcr_patient_barcode", "type", "gender", "vital_status", "OS", "OS.time"]
    rows = [
        [one.patient, project, "FEMALE", ("Alive", "Dead")[one.event], one.event, one.days]
        for project, persons in groups.items()
        for one in persons
    ]
    table = write_table(tmp_path / "cdr.csv", header, rows)
    check = opened([tmp_path / "f", table, "--event", "OS", "--time-unit", "days"], tmp_path / "study", capsys)
    counts = {cohort["code"]: (cohort["patients"], cohort["events"]) for cohort in check["cohorts"]}
    assert counts == {"acc": (12, 4), "kipan": (24, 8)}


def test_what_init_was_told_is_in_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two encoders the one that was named, the number of folds, and which part of an id is the patient."""
    features, random = tmp_path / "f", np.random.default_rng(0)
    for number in range(len(PERSONS)):
        for encoder, width in (("first", WIDTH), ("second", WIDTH + 1)):
            path = features / "20x_256px_0px_overlap" / f"features_{encoder}" / f"P{number:02d}HE.h5"
            write_h5(path, random.normal(size=(3, width)).astype(np.float32), encoder=encoder)
    rows = [[f"P{number:02d}", person.days, person.event] for number, person in enumerate(PERSONS)]
    table = write_table(tmp_path / "lausanne.csv", ["case_id", "os_days", "os"], rows)
    flags = ["--encoder", "second", "--folds", "3", "--patient-rule", "first 3"]
    assert main(["init", str(features), str(table), "--out", str(tmp_path / "study"), *flags]) == 0, capsys.readouterr()
    study = open_study(tmp_path / "study")
    assert (study.encoder.name, study.encoder.dim) == ("second", WIDTH + 1)
    (cohort,) = study.cohorts.values()
    assert (len(cohort.folds), len(cohort.slides)) == (3, len(PERSONS))
    assert list(cohort.labels["event"]) == [person.event for person in PERSONS]
