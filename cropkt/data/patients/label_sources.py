"""Which cohorts a study has, and which label tables each of them is read from."""

from collections.abc import Callable
from pathlib import Path

from cropkt.cohorts import COHORTS, cohort_info
from cropkt.data.patients.labels import LabelSource, in_cohort
from cropkt.data.patients.tables import read_table
from cropkt.data.study_yaml.patterns import study_path
from cropkt.data.study_yaml.settings import STUDY_FILE, StudySettings
from cropkt.data.text_files import TextFileError
from cropkt.errors import StudyError


def label_sources(
    code: str, folder: Path, settings: StudySettings, shown: Callable[[str | Path], str]
) -> list[LabelSource]:
    """The tables of cohort `code`: for each of its table names, those under `labels` that are there.

    Where a name has none, the first path it could have is among them, so that reading says what is missing.
    """
    names = (settings.cohorts or {}).get(code, (code,))
    sources: dict[Path, LabelSource] = {}
    for name in names:
        paths = [study_path(folder, pattern, cohort=name) for pattern in settings.labels]
        for path in [path for path in paths if path.exists()] or paths[:1]:
            project = name.upper() if names != (code,) else _own_project(code)
            sources.setdefault(path, LabelSource(path, shown(path), project, _members(code, names)))
    return list(sources.values())


def study_cohorts(folder: Path, settings: StudySettings) -> tuple[str, ...]:
    """The cohorts of study.yaml, else those of the registry that have a label table, or rows in the one table."""
    if settings.cohorts is not None:
        return tuple(settings.cohorts)
    paths = {study_path(folder, pattern, cohort=code) for pattern in settings.labels for code in COHORTS}
    if settings.columns.cohort is None:
        there = {path for path in paths if path.exists()}
        found = [code for code in COHORTS if there & {study_path(folder, one, cohort=code) for one in settings.labels}]
        looked = study_path(folder, settings.labels[0], cohort="acc")
        what = f"no cohort of the registry has such a file (looked for {looked} and {len(COHORTS) - 1} more)"
    else:
        values = {value for path in sorted(paths) for value in _cohort_values(path, settings.columns.cohort)}
        found = [code for code in COHORTS if any(in_cohort(value, _members(code, (code,))) for value in values)]
        some = ", ".join(sorted(values)[:5]) or "nothing"
        what = f"its column {settings.columns.cohort} names no cohort of the registry (it has {some})"
    if not found:
        is_ = ", ".join(map(repr, settings.labels))
        to_do = "mend `labels`, or list cohorts of your own under `cohorts`"
        raise StudyError(f"{folder / STUDY_FILE}: labels is {is_}, but {what}; {to_do}")
    return tuple(found)


def _cohort_values(path: Path, column: str) -> set[str]:
    try:
        return {row.cells.get(column, "") for row in read_table(path).rows} - {""}
    except FileNotFoundError:
        return set()
    except TextFileError as error:
        raise StudyError(f"{path}: {error}") from error


def _own_project(code: str) -> str:
    projects = cohort_info(code).projects
    return projects[0] if len(projects) == 1 else code.upper()


def _members(code: str, names: tuple[str, ...]) -> frozenset[str]:
    projects = cohort_info(code).projects if names == (code,) else ()
    return frozenset(name.lower().removeprefix("tcga-") for name in (code, *names, *projects))
