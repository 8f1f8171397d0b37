"""Factor analysis of a finished sweep: facts, tests, prediction, pictures, and their run in MLflow."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cropkt.data.study import Study, open_study
from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import DEMO_STUDY, FactorsConfig
from cropkt.experiments.journal import keep_in, note
from cropkt.experiments.progress import stage
from cropkt.experiments.tracking.analysis import Analysis as LoggedAnalysis
from cropkt.experiments.tracking.analysis import log_analysis
from cropkt.factors.analysis import Analysis, analyse, write_analysis
from cropkt.factors.explain import explain_cohort
from cropkt.factors.facts.tables import (
    cohort_table,
    cohorts_of,
    error_covariances,
    pair_table,
    read_pairs,
    sample_study,
)
from cropkt.factors.size_and_power import control_table
from cropkt.files import atomic_path
from cropkt.report.page import remake_report
from cropkt.report.sections.factor_pictures import draw_all, draw_prototypes
from cropkt.report.sections.factors import Explained, findings, section_body, write_explanation
from cropkt.report.sections.store import store_section
from cropkt.report.style import save_figure
from cropkt.transfer.current import check_owner, study_folder
from cropkt.transfer.store import ResultsFolder

STEPS = 8


def analyse_factors(config: FactorsConfig) -> int:
    """Analyse the sweep in the results folder; returns the exit code: 1 when MLflow could not be written.

    Writes factors_cohort.parquet, factors_pair.parquet, regression_*.csv, factors_*.png, factors_explain_CODE.html and
    .png, and report.html with a section on factors. Raises InputError when study and results are missing or do not
    fit each other.
    """
    wanted = config.study
    folder = wanted.folder or (wanted.out and study_folder(wanted.out)) or DEMO_STUDY
    if wanted.folder is None and not (folder / "study.yaml").exists():
        raise ConfigError(f"{folder}: the demo study has not been made yet; run scripts/sweep_transfer.py first")
    study = open_study(folder, encoder=wanted.encoder)
    out = (wanted.out or Path("runs") / study.name).resolve()
    results = ResultsFolder(out, study.encoder.name, wanted.architecture)
    check_owner(out, study.name)
    note(study=study.name, study_digest=study.fingerprint)
    if out.is_dir():
        keep_in(out)
    started = time.time()
    with _one_thread():
        analysis, files = _analyse(config, study, results)
    for sentence in findings(analysis):
        print(sentence)
    print(f"results: {out} ({time.time() - started:.0f} s)")
    if not config.tracking.wanted:
        return DONE
    problem = _log(config, study, results, analysis, files)
    if problem:
        print(f"warning: MLflow could not be used ({problem}); all results are in {out}, run again to log them")
    return SOME_FAILED if problem else DONE


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices are small and many here: threads would wait for each other, the longer the busier the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def _analyse(config: FactorsConfig, study: Study, results: ResultsFolder) -> tuple[Analysis, list[Path]]:
    pairs = read_pairs(results)
    codes = cohorts_of(study, pairs)
    unknown = [code for code in config.explain if code not in codes]
    if unknown:
        raise ConfigError(f"--explain: the results have no cohort {', '.join(unknown)}; they have {', '.join(codes)}")
    with stage("factors", STEPS + len(config.explain), "steps") as line:
        samples = sample_study(study, codes, config.facts)
        cohorts = cohort_table(study, samples, pairs)
        table = pair_table(study, results, samples, cohorts, pairs, config.facts, report=line.advance)
        line.advance("errors")
        errors = error_covariances(results, pairs)
        line.advance("tests")
        analysis = analyse(cohorts, table, errors, seed=config.facts.seed, permutations=config.permutations)
        files = [_parquet(results.out / "factors_cohort.parquet", cohorts)]
        files += [_parquet(results.out / "factors_pair.parquet", table), *write_analysis(results.out, analysis)]
        line.advance("pictures")
        pictures = draw_all(results.out, analysis, table)
        files += pictures.values()
        explained: list[Explained] = []
        for code in config.explain:
            line.advance(f"explaining {code}")
            explanation = explain_cohort(code, study, results, samples, (cohorts, table), analysis, config.facts)
            picture = save_figure(results.out / f"factors_explain_{code}.png", draw_prototypes(explanation.prototypes))
            files += [picture, write_explanation(results.out, explanation, picture)]
            explained.append((explanation, picture))
            line.say("\n".join(explanation.sentences))
        line.advance("report")
        body = section_body(analysis, pictures, explained)
        files.append(store_section(results, "factors", "What makes knowledge transfer", body, link="Factors"))
        files.append(remake_report(results))
    return analysis, files


def _parquet(path: Path, table: pd.DataFrame) -> Path:
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)
    return path


def _log(config: FactorsConfig, study: Study, results: ResultsFolder, analysis: Analysis, files: Sequence[Path]) -> str:
    """Log a run of its own beside the sweep's; returns what went wrong."""
    settings = {"encoder": results.encoder, "architecture": results.architecture, "permutations": config.permutations}
    name = f"factors {results.encoder} {results.architecture}"
    entry = LoggedAnalysis("factors", name, settings | asdict(config.facts), _metrics(analysis), files=files)
    return log_analysis(results, study.name, config.tracking, entry)


def _metrics(analysis: Analysis) -> dict[str, float]:
    """The numbers a person would sort runs by; names hold only what MLflow allows."""
    shares = analysis.variance.set_index("part")["share"]
    metrics = {f"variance_share_{part}": float(shares[part]) for part in ("source", "target", "pair")}
    for row in analysis.factors.to_dict("records"):
        metrics[f"coefficient/{str(row['factor']).replace(':', '/')}"] = float(row["coefficient"])
        if np.isfinite(row["q_value"]):  # circular factors have none
            metrics[f"q_value/{str(row['factor']).replace(':', '/')}"] = float(row["q_value"])
    for row in analysis.prediction.to_dict("records"):
        name = str(row["method"]).replace("'", "").replace(" ", "_")
        metrics |= {f"regret/{name}": float(row["regret"]), f"rank_correlation/{name}": float(row["rank_correlation"])}
    metrics["regret/random"] = float(analysis.prediction["regret_random"].mean())
    return metrics


def check_controls(out: Path, encoder: str, architecture: str, seeds: int, seed: int) -> pd.DataFrame:
    """How often irrelevant factors drawn at random are found in an analysed sweep. Raises ConfigError before that."""
    results = ResultsFolder(out.resolve(), encoder, architecture)
    measured = read_pairs(results)
    paths = [
        results.out / name for name in ("factors_pair.parquet", "factors_cohort.parquet", "regression_factors.csv")
    ]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ConfigError(f"--out {out}: no {', '.join(missing)}; run scripts/analyze_factors.py with this --out first")
    pairs, cohorts, factors = pd.read_parquet(paths[0]), pd.read_parquet(paths[1]), pd.read_csv(paths[2])
    return control_table(pairs, cohorts, error_covariances(results, measured), factors, seeds, seed)
