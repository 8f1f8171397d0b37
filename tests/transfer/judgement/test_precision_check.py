"""A pair measured again in both precisions: in that of the sweep the numbers are the sweep's."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from small_studies import SmallStudy
from sweep_here import sweep_here

from cropkt.data.study import open_study
from cropkt.models.names import PRECISION_NAMES
from cropkt.transfer.judgement.precision_check import precision_rows
from cropkt.transfer.store import ResultsFolder


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_sweeps_own_precision_gives_the_sweeps_numbers(
    precision: str, small_study: Callable[..., SmallStudy], tmp_path: Path
) -> None:
    study, out = small_study("acc", "uvm"), tmp_path / "out"
    assert sweep_here(study.folder, out, "--no-baselines", "--precision", precision).code == 0
    cohorts = open_study(study.folder).cohorts
    results = ResultsFolder(out, "uni2-h", "abmil")
    rows = [row for target in cohorts.values() for row in precision_rows(results, list(cohorts.values()), target)]
    found = pd.DataFrame(map(vars, rows)).set_index(["source", "target"]).sort_index()
    stored = results.pairs().set_index(["source", "target"]).sort_index()
    pd.testing.assert_series_equal(found[precision], stored["c_index_pooled"], check_names=False)
    assert all(row.errors_away >= 0 for row in rows if row.standard_error > 0)


def test_pages_and_help_say_how_far_bfloat16_moves_a_c_index() -> None:
    """The furthest of 676 pairs is in significance.md; what is said elsewhere is that, rounded up."""
    docs = Path(__file__).resolve().parents[3] / "docs"
    measured = re.search(r"the furthest by (\.\d+)", (docs / "significance.md").read_text().replace("\n", " "))
    said = re.search(r"differs by \.\d+ on average and (\.\d+) at most", (docs / "method.md").read_text())
    helped = re.search(r"by up to (0\.\d+)", PRECISION_NAMES["bfloat16"])
    assert measured is not None
    assert said is not None
    assert helped is not None
    assert float(measured[1]) <= float(said[1]) == float(helped[1]) < float(measured[1]) + 0.001


def test_models_are_asked_in_both_precisions(
    small_study: Callable[..., SmallStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = small_study("acc"), tmp_path / "out"
    sweep_here(study.folder, out, "--no-baselines")
    cohort, asked = open_study(study.folder).cohorts["acc"], []
    from cropkt.transfer.judgement import precision_check

    measure = precision_check.measure_pair

    def noted(source, target):  # type: ignore[no-untyped-def]
        asked.append(({model.reading().precision for model in source.models}, str(target.bags.features.dtype)))
        return measure(source, target)

    monkeypatch.setattr(precision_check, "measure_pair", noted)
    list(precision_rows(ResultsFolder(out, "uni2-h", "abmil"), [cohort], cohort))
    assert asked == [({"float32"}, "torch.float32"), ({"bfloat16"}, "torch.bfloat16")]
