"""Factor analysis of a finished sweep: facts, tests, prediction, pictures, and their run in MLflow."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cropkt.data.study import Study, open_study
from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import DEMO_STUDY
from cropkt.experiments.progress import stage
from cropkt.experiments.tracking import tracking_uri
from cropkt.factors.analysis import Analysis, analyse, write_analysis
from cropkt.factors.explain import explain_cohort
from cropkt.factors.factor_tests import OUTCOME
from cropkt.factors.pictures import draw_all, draw_prototypes, save
from cropkt.factors.section import findings, write_explanation, write_section
from cropkt.factors.tables import (
    FactConfig,
    cohort_table,
    cohorts_of,
    error_covariances,
    pair_table,
    read_pairs,
    sample_study,
)
from cropkt.files import atomic_path
from cropkt.transfer.results import ResultsFolder

STEPS = 8


@dataclass(frozen=True)
class FactorsRun:
    """What a person asked for; None or empty means the default."""

    study: Path | None = None
    out: Path | None = None
    encoder: str | None = None
    architecture: str = "abmil"
    explain: tuple[str, ...] = ()
    facts: FactConfig = FactConfig()
    permutations: int = 1999
    tracking: bool = True
    tracking_uri: str | None = None
    experiment: str | None = None


def analyse_factors(run: FactorsRun) -> int:
    """Analyse the sweep in the results folder; returns the exit code: 1 when MLflow could not be written.

    Writes factors_cohort.parquet, factors_pair.parquet, regression_*.csv, factors_*.png, factors_section.html, and
    factors_explain_CODE.html and .png. Raises InputError when study and results are missing or do not fit each other.
    """
    folder = run.study or DEMO_STUDY
    if run.study is None and not (folder / "study.yaml").exists():
        raise ConfigError(f"{folder}: the demo study has not been made yet; run scripts/sweep_transfer.py first")
    study = open_study(folder, encoder=run.encoder)
    out = (run.out or Path("runs") / study.name).resolve()
    if run.study is None and run.out is None and not (out / "pairs.parquet").is_file():
        out = (Path("runs") / folder.name).resolve()
    results = ResultsFolder(out, study.encoder.name, run.architecture)
    started = time.time()
    analysis, files = _analyse(run, study, results)
    for sentence in findings(analysis):
        print(sentence)
    print(f"results: {out} ({time.time() - started:.0f} s)")
    if not run.tracking:
        return DONE
    problem = _log(run, study, results, analysis, files)
    if problem:
        print(f"warning: MLflow could not be used ({problem}); all results are in {out}, run again to log them")
    return SOME_FAILED if problem else DONE


def _analyse(run: FactorsRun, study: Study, results: ResultsFolder) -> tuple[Analysis, list[Path]]:
    pairs = read_pairs(results)
    codes = cohorts_of(study, pairs)
    unknown = [code for code in run.explain if code not in codes]
    if unknown:
        raise ConfigError(f"--explain: the results have no cohort {', '.join(unknown)}; they have {', '.join(codes)}")
    with stage("factors", STEPS + len(run.explain), "steps") as line:
        line.advance("reading slides")
        samples = sample_study(study, codes, run.facts)
        cohorts = cohort_table(study, samples, pairs)
        table = pair_table(study, results, samples, cohorts, pairs, run.facts, report=line.advance)
        line.advance("errors")
        errors = error_covariances(results, pairs)
        line.advance("tests")
        analysis = analyse(cohorts, table, errors, seed=run.facts.seed, permutations=run.permutations)
        files = [_parquet(results.out / "factors_cohort.parquet", cohorts)]
        files += [_parquet(results.out / "factors_pair.parquet", table), *write_analysis(results.out, analysis)]
        line.advance("pictures")
        pictures = draw_all(results.out, analysis, table)
        files += [*pictures.values(), write_section(results.out, analysis, pictures)]
        for code in run.explain:
            line.advance(f"explaining {code}")
            explanation = explain_cohort(code, study, results, samples, (cohorts, table), analysis, run.facts)
            picture = save(results.out / f"factors_explain_{code}.png", draw_prototypes(explanation.prototypes))
            files += [picture, write_explanation(results.out, explanation, picture)]
            print("\n".join(explanation.sentences))
    return analysis, files


def _parquet(path: Path, table: pd.DataFrame) -> Path:
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)
    return path


def _log(
    run: FactorsRun, study: Study, results: ResultsFolder, analysis: Analysis, files: Sequence[Path]
) -> str:
    """Log as a run of its own in the sweep's experiment, tagged with the sweep's run; returns what went wrong, or ""."""
    try:
        _log_run(run, study, results, analysis, files)
    except Exception as error:  # whatever a store can raise: it must never cost a result
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    return ""


def _log_run(
    run: FactorsRun, study: Study, results: ResultsFolder, analysis: Analysis, files: Sequence[Path]
) -> None:
    from mlflow.entities import Metric, Param

    client = connect(tracking_uri(results.out, run.tracking_uri))
    name = run.experiment or study.name
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    identity = results_identity(results)
    sweeps = client.search_runs(
        [experiment_id], f"tags.`cropkt.kind` = 'sweep' and tags.`cropkt.results` = '{identity}'", max_results=1
    )
    tags = {"cropkt.kind": "factors", "cropkt.results": identity}
    if sweeps:
        tags["cropkt.sweep_run"] = sweeps[0].info.run_id
    title = f"factors {results.encoder} {results.architecture}"
    found = client.create_run(experiment_id, tags=tags, run_name=title).info.run_id
    settings = {"encoder": results.encoder, "architecture": results.architecture, "permutations": run.permutations}
    parameters = [Param(name, str(value)) for name, value in (settings | vars(run.facts)).items()]
    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in _metrics(analysis).items() if np.isfinite(value)]
    client.log_batch(found, metrics, parameters)
    for path in files:
        client.log_artifact(found, str(path))
    client.set_terminated(found)


def _metrics(analysis: Analysis) -> dict[str, float]:
    """The numbers a person would sort runs by; names hold only what MLflow allows."""
    shares = analysis.variance.set_index("part")["share"]
    metrics = {f"variance_share_{part}": float(shares[part]) for part in ("source", "target", "pair")}
    for row in analysis.factors.itertuples():
        metrics[f"coefficient/{str(row.factor).replace(':', '/')}"] = float(row.coefficient)
        metrics[f"q_value/{str(row.factor).replace(':', '/')}"] = float(row.q_value)
    for row in analysis.prediction.itertuples():
        name = str(row.method).replace("'", "").replace(" ", "_")
        metrics |= {f"regret/{name}": float(row.regret), f"rank_correlation/{name}": float(row.rank_correlation)}
    metrics["regret/random"] = float(analysis.prediction["regret_random"].mean())
    return metrics
