"""Tables and folders as strangers have them: each is read as it is meant, or refused with what to do."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from published_layouts import Person, months, people, trident, values, write_h5, write_pt, write_table

from cropkt.data.bags import read_bags
from cropkt.data.study import Study, open_study
from cropkt.experiments.commands import main
from cropkt.front.slides.match import SlideNames

PERSONS = people()
Row = Callable[[Person], Sequence[Any]]


@dataclass(frozen=True)
class Written:
    """A table: its header, a patient's row, and how it is written."""

    header: Sequence[str]
    row: Row
    name: str = "acc.csv"
    delimiter: str = ","
    encoding: str = "utf-8"
    before: str = ""
    after_header: str = ""
    flags: Sequence[str] = field(default=())


OWN = ["case_id", "os_months", "dead"]


def own(person: Person) -> list[Any]:
    return [person.patient, months(person.days), person.event]


def said(event: int, censored: str = "Alive", dead: str = "Dead") -> str:
    return dead if event else censored


def two_times(person: Person) -> list[Any]:
    """A patient as GDC writes one: days to death of the dead, days to the last follow-up of the living."""
    dead, alive = (person.days, "'--") if person.event else ("'--", person.days)
    return [person.patient, "TCGA-ACC", said(person.event), dead, alive]


def study_view(person: Person) -> list[Any]:
    status = said(person.event, "0:LIVING", "1:DECEASED")
    free = said(person.event, "0:DiseaseFree", "1:Recurred/Progressed")
    return ["acc_tcga", person.patient, f"{person.patient}-01", months(person.days), status, 3.5, free]


STUDY_VIEW = ["Study ID", "Patient ID", "Sample ID", "Overall Survival (Months)", "Overall Survival Status"]
GDC = ["case_submitter_id", "project_id", "vital_status", "days_to_death", "days_to_last_follow_up"]
NEW_GDC = ["cases.submitter_id", "project.project_id", "demographic.vital_status", "demographic.days_to_death"]
TABLES = {
    "semicolons": Written(OWN, own, delimiter=";"),
    "commas for points": Written(OWN, lambda p: [str(cell).replace(".", ",") for cell in own(p)], delimiter=";"),
    "tabs": Written(OWN, own, delimiter="\t"),
    "a separator said": Written(OWN, own, delimiter=";", before="sep=;\n"),
    "a byte order mark": Written(OWN, own, encoding="utf-8-sig"),
    "UTF-16": Written(OWN, own, encoding="utf-16", delimiter="\t"),
    "upper case": Written([name.upper() for name in OWN], own),
    "camel case": Written(["PatientID", "OSMonths", "OSStatus"], lambda p: [*own(p)[:2], said(p.event)]),
    "joined words": Written(["patientid", "osmonths", "osevent"], own),
    "words and spaces": Written(["Patient ID", "Overall survival (months)", "Death (1=yes, 0=no)"], own),
    "vital status": Written(["case_id", "os_days", "vital_status"], lambda p: [p.patient, p.days, said(p.event)]),
    "yes and no": Written(["id", "follow_up_months", "deceased"], lambda p: [*own(p)[:2], said(p.event, "No", "Yes")]),
    "truth": Written(["id", "followup_days", "event"], lambda p: [p.patient, p.days, bool(p.event)]),
    "censorship": Written(["case_id", "survival_months", "censorship"], lambda p: [*own(p)[:2], 1 - p.event]),
    "causes of death": Written(
        ["id", "OS_months", "OS_status"],
        lambda p: [*own(p)[:2], said(p.event, "Alive with disease", ("Died of disease", "DOC")[p.days % 2])],
    ),
    "relapse": Written(
        ["id", "RFS_months", "RFS_status"], lambda p: [*own(p)[:2], said(p.event, "No relapse", "Relapse")]
    ),
    "Xena": Written(["sample", "OS", "_PATIENT", "OS.time"], lambda p: [f"{p.patient}-01", p.event, p.patient, p.days]),
    "GDC": Written(GDC, two_times, "clinical.tsv", "\t"),
    "GDC of today": Written([*NEW_GDC, "diagnoses.days_to_last_follow_up"], two_times, "clinical.tsv", "\t"),
    "TCGA's files": Written(
        ["bcr_patient_barcode", "type", "vital_status", "death_days_to", "last_contact_days_to"], two_times
    ),
    "cBioPortal's study view": Written(
        [*STUDY_VIEW, "Disease Free (Months)", "Disease Free Status"],
        study_view,
        "clinical.tsv",
        "\t",
        flags=["--endpoint", "OS"],
    ),
    "paths of slides": Written(["slide", *OWN], lambda p: [f"/data/slides/{p.slide}.svs", *own(p)]),
    "paths of Windows": Written(["file", *OWN], lambda p: [f"D:\\slides\\{p.slide}.NDPI", *own(p)]),
    "slides alone": Written(["slide_id", *OWN[1:]], lambda p: [f"{p.slide}.svs", *own(p)[1:]]),
}


def on(days: int, pattern: str = "%Y-%m-%d") -> str:
    """The date so many days after diagnosis."""
    return (date(2010, 3, 5) + timedelta(days=days)).strftime(pattern)


def dates(person: Person, pattern: str = "%Y-%m-%d") -> list[str]:
    """Diagnosis, death of the dead, last contact of the living."""
    end = on(person.days, pattern)
    return [on(0, pattern), end if person.event else "", "" if person.event else end]


def biotab(person: Person) -> list[Any]:
    dead, alive = (person.days, "[Not Applicable]") if person.event else ("[Not Available]", person.days)
    return [f"u-{person.patient}", person.patient, said(person.event), alive, dead]


DATES = ["date_of_diagnosis", "date_of_death", "date_last_contact"]
BIOTAB = ["bcr_patient_uuid", "bcr_patient_barcode", "vital_status", "last_contact_days_to", "death_days_to"]
TABLES |= {
    "dates alone": Written(["id", *DATES], lambda p: [p.patient, *dates(p)]),
    "dates of the dead's last visits": Written(
        ["id", *DATES], lambda p: [p.patient, on(0), on(p.days) if p.event else "", on(p.days - 3 * p.event)]
    ),
    "dates with times of day": Written(["id", *DATES], lambda p: [p.patient, *dates(p, "%Y-%m-%dT00:00:00")]),
    "dates, the day first": Written(
        ["id", "Diagnosis date", "Last follow-up", "Status"],
        lambda p: [p.patient, on(0, "%d.%m.%Y"), on(p.days, "%d.%m.%Y"), said(p.event)],
        delimiter=";",
        encoding="utf-8-sig",
    ),
    "dates, the month first": Written(
        ["id", "dx_date", "date_of_birth", "last_fu_date", "death"],
        lambda p: [p.patient, on(0, "%m/%d/%Y"), "01/31/1950", on(p.days, "%m/%d/%Y"), p.event],
    ),
    "two first dates": Written(
        ["id", "surgery_date", *DATES], lambda p: [p.patient, on(20), *dates(p)], flags=["--start", "date_of_diagnosis"]
    ),
    "GDC's biotab": Written(
        BIOTAB,
        biotab,
        "clinical_patient_acc.txt",
        "\t",
        before="\t".join(BIOTAB) + "\n",
        after_header="CDE_ID:1\tCDE_ID:2",
    ),
    "a status of OS with causes": Written(
        ["id", "os_days", "status"], lambda p: [p.patient, p.days, said(p.event, ("NED", "AWD")[p.days % 2], "DOC")]
    ),
}


def opened(folder: Path, *arguments: Path | str) -> Study:
    out = folder / "study"
    assert main(["init", *map(str, arguments), "--out", str(out)]) == 0
    assert main(["check", str(out)]) == 0
    return open_study(out)


def require_all(study: Study, code: str = "acc", slides: int = 30) -> None:
    """All invented patients are there, with their times and events."""
    cohort = study.cohorts[code]
    assert list(study.cohorts) == [code]
    assert len(cohort.slides) == slides
    assert list(cohort.labels["event"]) == [person.event for person in PERSONS]
    assert np.allclose(cohort.labels["time"], [person.days for person in PERSONS], atol=1e-5)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trident(tmp_path_factory.mktemp("trident"), PERSONS)


@pytest.mark.parametrize("case", TABLES)
def test_a_table_is_read_as_it_is_meant(case: str, tmp_path: Path, features: Path) -> None:
    given = TABLES[case]
    path = write_table(tmp_path / given.name, given.header, list(map(given.row, PERSONS)), delimiter=given.delimiter)
    text = path.read_text()
    if given.after_header:
        text = text.replace("\n", f"\n{given.after_header}\n", 1)
    path.write_bytes((given.before + text).encode(given.encoding))
    require_all(opened(tmp_path, features, path, *given.flags))


@pytest.mark.parametrize("slide", ["/mnt/slides/S{}_{}.svs", "C:\\S{}_{}.ndpi", "S{}_{}"])
@pytest.mark.parametrize("column", ["slide_path", "scan"])
def test_slides_that_only_a_column_of_any_name_gives_to_patients(tmp_path: Path, column: str, slide: str) -> None:
    rows = []
    for number, person in enumerate(PERSONS):
        for block in (1, 2):
            write_h5(tmp_path / "f" / f"S{number}_{block}.h5", values(seed=number), coords=False)
            rows.append([f"H{number:02d}", person.days, person.event, slide.format(number, block)])
    table = write_table(tmp_path / "acc.csv", ["case_id", "os_days", "dead", column], rows)
    require_all(opened(tmp_path, tmp_path / "f", table), slides=60)


def test_a_number_in_a_table_is_no_slide_that_is_called_so(tmp_path: Path) -> None:
    for number in range(len(PERSONS)):
        write_h5(tmp_path / "f" / f"{number}.h5", values(seed=number))
    rows = [[number, number % 7, person.days, person.event] for number, person in enumerate(PERSONS)]
    table = write_table(tmp_path / "clinical.csv", ["id", "nodes", "os_days", "dead"], rows)
    study = opened(tmp_path, tmp_path / "f", table)
    cohort = study.cohorts["clinical-cohort"]  # clinical is a word of results
    assert {int(patient): event for patient, event in cohort.labels["event"].items()} == {
        number: person.event for number, person in enumerate(PERSONS)
    }


def test_an_id_may_stand_within_the_names_of_its_slides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for number, person in enumerate(PERSONS):
        for block in (1, 2):
            write_h5(tmp_path / "f" / f"19_H-{number:02d}_HE{block}.h5", values(seed=number))
        rows.append([f"H-{number:02d}", person.days, person.event])
    table = write_table(tmp_path / "acc.csv", ["case_id", "os_days", "dead"], rows)
    require_all(opened(tmp_path, tmp_path / "f", table), slides=60)
    assert "19_H-00_HE1 is h-00's" in capsys.readouterr().out


def test_a_slide_that_two_patients_ids_are_in_is_nobodys() -> None:
    names = SlideNames(("a_H1_x", "a_H2_H1", "a_h1_x2", "a_7_x", "b_HE_x"))
    assert names.holding(["H1", "H2", "7", "HE"]) == {"h1": ["a_H1_x", "a_h1_x2"]}


def cbioportal_folder(folder: Path) -> Path:
    rows = [[p.patient, months(p.days), said(p.event, "0:LIVING", "1:DECEASED")] for p in PERSONS]
    write_table(folder / "data_clinical_patient.txt", ["PATIENT_ID", "OS_MONTHS", "OS_STATUS"], rows, delimiter="\t")
    samples = [[person.patient, f"{person.patient}-01"] for person in PERSONS]
    write_table(folder / "data_clinical_sample.txt", ["PATIENT_ID", "SAMPLE_ID"], samples, delimiter="\t")
    (folder / "data_mutations.txt").write_text("Hugo_Symbol\tTumor_Sample_Barcode\nTP53\tx\n")
    return folder


def test_cbioportals_folder_is_given_as_it_is(
    tmp_path: Path, features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_all(opened(tmp_path, features, cbioportal_folder(tmp_path / "acc_tcga")))
    told = capsys.readouterr().out
    assert "passed over, as no columns of time and event are known by their names: data_clinical_sample.txt" in told


def test_cohorts_that_the_registry_has_not_are_passed_over_and_named(
    tmp_path: Path, features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The TCGA CDR has LAML, a leukaemia without slides."""
    kinds = ("ACC", "UVM", "LAML")
    rows = [[p.patient, kinds[n % 3], p.event, p.days] for n, p in enumerate(PERSONS)]
    study = opened(tmp_path, features, write_table(tmp_path / "cdr.csv", ["id", "type", "OS", "OS.time"], rows))
    assert {code: len(cohort.labels) for code, cohort in study.cohorts.items()} == {"acc": 10, "uvm": 10}
    assert "passed over, as no cohort of the registry: LAML" in capsys.readouterr().out


ENCODERS = {
    "features_uni_v2/{}.h5": "uni_v2",
    "features/uni_v2/{}.h5": "uni_v2",
    "virchow2/{}.h5": "virchow2",
    "conch_v15/h5_files/{}.h5": "conch_v15",
    "feats-l0-s256-UNI2h/pt_files/{}.pt": "UNI2h",
    "site{n}/batch/{}.h5": "plain-12",
    "TCGA-ACC/{}.svs.h5": "projects-12",
}


@pytest.mark.parametrize("layout", ENCODERS)
def test_a_folder_says_the_encoder(tmp_path: Path, layout: str) -> None:
    for number, person in enumerate(PERSONS):
        path = tmp_path / "all" / layout.format(person.slide, n=number % 3)
        (write_pt if path.suffix == ".pt" else write_h5)(path, values(seed=number))
    study = opened(tmp_path, tmp_path / "all", write_table(tmp_path / "acc.csv", OWN, list(map(own, PERSONS))))
    require_all(study)
    assert study.encoder.name == ENCODERS[layout]


@pytest.mark.parametrize(("wanted", "width"), [("uni_v2", 12), ("virchow2", 20)])
def test_of_two_encoders_side_by_side_each_can_be_used(tmp_path: Path, wanted: str, width: int) -> None:
    for number, person in enumerate(PERSONS):
        write_h5(tmp_path / "all" / "uni_v2" / f"{person.slide}.h5", values(seed=number))
        write_h5(tmp_path / "all" / "virchow2" / f"{person.slide}.h5", values(seed=number, width=20))
    table = write_table(tmp_path / "acc.csv", OWN, list(map(own, PERSONS)))
    study = opened(tmp_path, tmp_path / "all", table, "--encoder", wanted)
    assert (study.encoder.name, study.encoder.dim) == (wanted, width)


@pytest.mark.parametrize("name", ["features", "feats", "embeddings", "x"])
@pytest.mark.parametrize("axes", [2, 3])
def test_arrays_under_any_published_name(tmp_path: Path, name: str, axes: int) -> None:
    for number, person in enumerate(PERSONS):
        path = tmp_path / "f" / f"{person.slide}.h5"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file[name] = values(seed=number).astype(np.float16)[(None,) * (axes - 2)]
    require_all(opened(tmp_path, tmp_path / "f", write_table(tmp_path / "acc.csv", OWN, list(map(own, PERSONS)))))


REFUSED = {
    "a spreadsheet": ("acc.xlsx", b"PK\3\4", "is a spreadsheet; save the sheet as CSV (UTF-8) and name that file"),
    "another encoding": ("acc.csv", "médecin".encode("latin-1"), "is not text in UTF-8 (byte 2); save it as text"),
    "an archive": (
        "acc.csv.zip",
        b"PK\x03\x04\x14\x00\x00\x00\x08\x00\xb1\x9c",
        "is a zip archive or a spreadsheet",
    ),
    "a packed table": ("acc.csv.gz", b"\x1f\x8b\x08\x00\x11\xff\xfe\x81", "is packed by gzip; unpack it"),
    "a title": ("acc.csv", b"Cohort of 2024,,\n,,\ncase_id,os_days,dead\np,1,1\n", "remove what is above the names of"),
    "no rows": ("acc.csv", b"case_id,os_months,dead\n", "holds no rows; name a table of patients with time and event"),
    "nothing": ("none.csv", None, "there is no such file; name a table of patients"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_with_what_to_do(
    case: str, tmp_path: Path, features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, expected = REFUSED[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["init", str(features), str(tmp_path / name), "--out", str(tmp_path / "study")]) == 2
    assert expected in capsys.readouterr().err


def test_a_folder_of_other_files_says_what_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f").mkdir()
    for person in PERSONS[:3]:
        np.save(tmp_path / "f" / f"{person.slide}.npy", values())
    table = write_table(tmp_path / "acc.csv", OWN, list(map(own, PERSONS)))
    assert main(["init", str(tmp_path / "f"), str(table), "--out", str(tmp_path / "study")]) == 2
    assert "no .h5, .hdf5, .pt or .zarr in it" in (told := capsys.readouterr().err)
    assert "it holds 3 files *.npy; write each slide's array (patches, width) as .h5" in told


@pytest.mark.parametrize(
    ("slide", "patient", "expected"),
    [
        ("{:05d}", "{}", "have lost the zeros they begin with"),
        ("{}_1", "{}.0", "have lost their form"),
        ("{}", "1.2E+05", "A spreadsheet has shortened long ids (1.2E+05)"),
        ("H{:03d}A", "H{:03d}", '--patient-rule "first 4"'),
        ("p{:03d}/slide", "p{:03d}", "30 files are called slide: give each slide a name of its own"),
    ],
)
def test_ids_that_begin_no_slides_name_say_the_likely_cause(
    tmp_path: Path, slide: str, patient: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        write_h5(tmp_path / "f" / f"{slide.format(120 + number)}.h5", values(seed=number))
    rows = [[patient.format(120 + number), one.days, one.event] for number, one in enumerate(PERSONS)]
    table = write_table(tmp_path / "acc.csv", ["case_id", "os_days", "dead"], rows)
    assert main(["init", str(tmp_path / "f"), str(table), "--out", str(tmp_path / "study")]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        (["id", "os_weeks", "dead"], lambda p: [p.patient, p.days // 7, p.event], "os_weeks is in weeks"),
        (
            ["id", "os_days", "dead"],
            lambda p: [p.patient, f"{p.days + 1000:,}", p.event],
            "os_days is called a time, and it holds",
        ),
        (["id", "day", "dead"], lambda p: [p.patient, on(p.days), p.event], "Dates are in day"),
        (["id", "os_days", "status"], lambda p: [p.patient, p.days, p.event * (1 + p.days % 2)], "--event-value VALUE"),
        (["id", "surgery_date", *DATES], lambda p: [p.patient, on(9), *dates(p)], "--start date_of_diagnosis"),
        (
            ["id", "diagnosis_date", "last_contact", "dead"],
            lambda p: [p.patient, "03/05/2010", f"{1 + p.days % 12}/4/2015", p.event],
            "no certain order of day and month",
        ),
    ],
)
def test_a_time_or_event_that_is_not_certain_says_what_to_do(
    tmp_path: Path, features: Path, header: Sequence[str], row: Row, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "acc.csv", header, list(map(row, PERSONS)))
    assert main(["init", str(features), str(table), "--out", str(tmp_path / "study")]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".H5", ".HDF5", ".PT"])
def test_suffixes_count_in_any_case(tmp_path: Path, suffix: str) -> None:
    write = write_pt if suffix == ".PT" else write_h5
    for number, person in enumerate(PERSONS):
        write(tmp_path / "f" / f"{person.slide}{suffix if number % 2 else suffix.lower()}", values(seed=number))
    table = write_table(tmp_path / "acc.csv", OWN, list(map(own, PERSONS)))
    study = opened(tmp_path, tmp_path / "f", table)
    require_all(study)
    assert len(read_bags(study.cohorts["acc"])) == len(PERSONS)


def test_letters_with_marks_are_one_however_they_are_written(tmp_path: Path) -> None:
    """macOS writes the umlaut of a file's name as two characters, its tables as one."""
    for number in range(30):
        name = unicodedata.normalize("NFD", f"Müller-{number:02d}_1")
        write_h5(tmp_path / "f" / f"{name}.h5", values(seed=number))
    rows = [[f"Müller-{number:02d}", *own(person)[1:]] for number, person in enumerate(PERSONS)]
    require_all(opened(tmp_path, tmp_path / "f", write_table(tmp_path / "acc.csv", OWN, rows)))
    slides = [[f"Müller-{number:02d}_1.svs", *row] for number, row in enumerate(rows)]
    table = write_table(tmp_path / "slides" / "acc.csv", ["slide_id", *OWN], slides)
    (tmp_path / "by_slide").mkdir()
    require_all(opened(tmp_path / "by_slide", tmp_path / "f", table))


def test_one_encoder_at_two_magnifications_is_no_other_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init` tells them apart by their grids; their files name the encoder alone."""
    trident(tmp_path / "t", PERSONS)
    (tmp_path / "t" / "20x_256px_0px_overlap").rename(tmp_path / "t" / "10x_512px_0px_overlap")
    table = write_table(tmp_path / "acc.csv", OWN, list(map(own, PERSONS)))
    require_all(opened(tmp_path, trident(tmp_path / "t", PERSONS), table))
    told = capsys.readouterr().out
    assert "uni_v2-10x_512px_0px_overlap" in told
    assert "another encoder" not in told
    assert "name the encoder" not in told


def test_features_deep_in_a_file_say_where_they_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for person in PERSONS:
        (tmp_path / "f").mkdir(exist_ok=True)
        with h5py.File(tmp_path / "f" / f"{person.slide}.h5", "w") as file:
            file["20x/features"] = values()
    table = write_table(tmp_path / "acc.csv", OWN, list(map(own, PERSONS)))
    assert main(["init", str(tmp_path / "f"), str(table), "--out", str(tmp_path / "study")]) == 2
    assert "it holds 20x/features" in capsys.readouterr().err


def test_a_death_of_another_cause_is_no_event_of_the_disease_and_never_guessed(
    tmp_path: Path, features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("alive", "died of disease", "died of other cause")
    for column, code in (("DSS_status", 0), ("PFS_status", 2)):
        rows = [[p.patient, months(p.days), words[n % 3]] for n, p in enumerate(PERSONS)]
        path = write_table(tmp_path / column / "acc.csv", ["id", column.replace("status", "months"), column], rows)
        arguments = ["init", str(features), str(path), "--out", str(tmp_path / column / "study")]
        assert main(arguments) == code, capsys.readouterr().err
    events = open_study(tmp_path / "DSS_status" / "study").cohorts["acc"].labels["event"]
    assert list(events) == [int(number % 3 == 1) for number in range(len(PERSONS))]
