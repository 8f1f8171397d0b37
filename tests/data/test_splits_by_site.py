"""`splits: site` in study.yaml: no hospital on both sides of a fold, and a word where that cannot be."""

from collections.abc import Callable

from cropkt.data.study import open_study


def test_no_site_is_in_two_folds_tests_and_what_cannot_be_is_said(small_study: Callable) -> None:
    study = small_study("acc", "uvm")
    study.set(splits="site", columns={"site": "hospital"})
    for code, sites in (("acc", "abcdef"), ("uvm", "a")):
        rows = study.rows(code)
        rows[0].append("hospital")
        for number, row in enumerate(rows[1:]):
            row.append(sites[number % len(sites)])
        study.write_rows(code, rows)
    opened = open_study(study.folder)
    site = opened.cohorts["acc"].clinical["site"]
    tested = [set(site[list(fold.test)]) for fold in opened.cohorts["acc"].folds]
    assert sorted(name for names in tested for name in names) == sorted(set(site))
    assert any("uvm: 1 sites cannot fill" in line and "share sites" in line for line in opened.warnings)
    assert not any("acc" in line and "share sites" in line for line in opened.warnings)
    again = open_study(study.folder)
    assert again.cohorts["acc"].folds == opened.cohorts["acc"].folds
