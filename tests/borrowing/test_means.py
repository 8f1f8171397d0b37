"""Mean features per patient: the truth, the slides left out, and what binds a file to its cohort."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_studies import SmallStudy, write_study

from cropkt.borrowing import means as module
from cropkt.borrowing.means import (
    CohortMeans,
    fold_splits,
    means_of,
    measure_means,
    store_means,
    stored_means,
    with_outcomes,
)
from cropkt.data.bags import read_bags
from cropkt.data.patients.folds import Fold
from cropkt.data.slide_files.features import read_features
from cropkt.data.study import Cohort, open_study
from cropkt.errors import StudyError


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    return write_study(tmp_path / "study", "acc")


def acc(study: SmallStudy) -> Cohort:
    return open_study(study.folder).cohorts["acc"]


def test_a_patients_mean_is_over_all_patches_of_all_slides(study: SmallStudy) -> None:
    cohort = acc(study)
    bags, found = read_bags(cohort), measure_means(cohort)
    assert found.patients == bags.patients
    for number in range(len(bags)):
        patches = bags.take([number]).features.double().numpy()
        np.testing.assert_allclose(found.features[number], patches.mean(axis=0), rtol=1e-12)


def test_a_bag_too_long_for_memory_has_the_same_mean(study: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of two patches; one slide of a patient is found to be bad after its first parts were counted."""
    cohort = acc(study)
    whole = measure_means(cohort)
    monkeypatch.setattr(module, "PATCHES", 2)
    np.testing.assert_allclose(measure_means(cohort).features, whole.features, rtol=1e-12)
    several = cohort.slides[cohort.slides["patient_id"].duplicated(keep=False)]
    slide = several.iloc[1]
    with h5py.File(slide["path"], "r+") as file:
        file["features"][-1] = np.nan
    with pytest.warns(UserWarning, match=slide["slide"]):
        found = measure_means(cohort)
    patient = found.patients.index(slide["patient_id"])
    rest = several[(several["patient_id"] == slide["patient_id"]) & (several["slide"] != slide["slide"])]
    patches = np.concatenate([read_features(path) for path in rest["path"]]).astype(np.float64)
    np.testing.assert_allclose(found.features[patient], patches.mean(axis=0), rtol=1e-12)


def test_a_patient_whose_slides_are_bad_is_left_out_or_refused(study: SmallStudy) -> None:
    cohort = acc(study)
    patient = cohort.slides["patient_id"].iloc[0]
    for path in cohort.slides.loc[cohort.slides["patient_id"] == patient, "path"]:
        Path(path).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=patient):
        found = measure_means(cohort)
    assert patient not in found.patients
    assert len(found.patients) == len(cohort.labels) - 1
    with pytest.raises(StudyError, match=patient):
        measure_means(cohort, strict=True)


def test_stored_means_are_those_of_this_very_cohort(study: SmallStudy, tmp_path: Path) -> None:
    cohort, path = acc(study), tmp_path / "acc.safetensors"
    measured = measure_means(cohort)
    store_means(path, measured, cohort)
    found = stored_means(path, cohort)
    assert found is not None
    assert found.patients == measured.patients
    np.testing.assert_array_equal(found.features, measured.features)
    assert stored_means(path, replace(cohort, fingerprint="another")) is None
    path.write_bytes(path.read_bytes()[:50])
    assert stored_means(path, cohort) is None


def test_slides_are_read_once(study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, path = acc(study), tmp_path / "acc.safetensors"
    first = means_of(cohort, path)
    monkeypatch.setattr(module, "stream_bags", lambda *_, **__: pytest.fail("a slide was read again"))
    np.testing.assert_array_equal(means_of(cohort, path).features, first.features)


def test_outcomes_and_folds_follow_the_patients(study: SmallStudy) -> None:
    cohort = acc(study)
    found = measure_means(cohort)
    patients = with_outcomes(cohort, found)
    np.testing.assert_array_equal(patients.time, cohort.labels.loc[list(found.patients), "time"])
    some = CohortMeans("acc", found.patients[:3:-1], found.features[:3:-1])  # in another order, and not all
    np.testing.assert_array_equal(with_outcomes(cohort, some).event, cohort.labels.loc[list(some.patients), "event"])
    first, *others = cohort.folds
    validated = Fold(first.train[1:], first.test, first.train[:1])
    cohort = replace(cohort, folds=(validated, *others))
    for (train, test), fold in zip(fold_splits(cohort, found.patients), cohort.folds, strict=True):
        assert [found.patients[number] for number in train] == list(fold.train)
        assert [found.patients[number] for number in test] == list(fold.test)
