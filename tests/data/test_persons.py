"""One person is one person, however the id is written."""

import hashlib
import time

import pytest

from cropkt.data.persons import is_rule, patient_id, person_digest, person_of, tissue_source_site


@pytest.mark.parametrize(
    "written",
    [
        "TCGA-OR-A5J1",
        "tcga-or-a5j1",
        "TCGA-OR-A5J1-01A",
        "TCGA-OR-A5J1-06A-11R-A29S-07",
        "TCGA-OR-A5J1-01Z-00-DX1.600C7D8C-F04C-4125-AF14-B1E76DC01A1E",
        "TCGA.OR.A5J1.01A",
    ],
)
def test_tcga_barcodes_are_the_participant(written: str) -> None:
    assert patient_id(written) == "TCGA-OR-A5J1"
    assert person_of(written) == "tcga-or-a5j1"
    assert tissue_source_site(written) == "OR"


@pytest.mark.parametrize("written", ["TCGA-OR-A5J12", "TCGA-OR", "GLA-0001-01A", "P-TCGA-OR-A5J1"])
def test_other_ids_are_taken_as_written(written: str) -> None:
    assert patient_id(written) == written
    assert person_of(written) == written.lower()
    assert tissue_source_site(written) == ""


def test_ids_equal_but_for_case_are_one_person_and_others_are_not() -> None:
    assert person_of("Gla-7a") == person_of("GLA-7A ")
    assert person_of("GLA-7A") != person_of("GLA-7B")
    assert person_of("GLA-7A-01A") != person_of("GLA-7A-06A")


@pytest.mark.parametrize(
    ("rule", "written", "patient"),
    [
        ("first 7", "GLA-012-biopsy", "GLA-012"),
        ("first 7", "GLA-01", ""),
        ("{patient}_*", "S21_a_b", "S21"),
        ("{patient}_*", "S21", ""),
        ("{patient}-???", "GLA-012-01A", "GLA-012"),
        ("block ?? {patient}", "block 07 GLA.1", "GLA.1"),
    ],
)
def test_a_rule_says_which_part_of_an_id_is_the_patient(rule: str, written: str, patient: str) -> None:
    assert is_rule(rule)
    assert patient_id(written, rule) == patient


@pytest.mark.parametrize("rule", ["first", "first 0", "first 100", "patient", "{patient", "{patient}{patient}", "****"])
def test_what_is_no_rule_is_known(rule: str) -> None:
    assert not is_rule(rule)


def test_the_slowest_rule_answers_at_once() -> None:
    start = time.process_time()
    assert patient_id("a" * 200 + "b", "*a*a{patient}*ac") == ""
    assert time.process_time() - start < 10


def test_digests_tell_persons_apart_and_not_who_they_are() -> None:
    assert person_digest("TCGA-OR-A5J1-01A") == person_digest("tcga-or-a5j1")
    assert person_digest("TCGA-OR-A5J1") == hashlib.blake2b(b"tcga-or-a5j1", digest_size=8).hexdigest()
    assert len({person_digest(f"P{number}") for number in range(1000)}) == 1000
