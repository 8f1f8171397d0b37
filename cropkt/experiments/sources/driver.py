"""Source models, trained where they are missing. Models that reached the results folder are never trained again."""

from pathlib import Path

from cropkt.experiments.cluster import Cluster, session
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import RunConfig
from cropkt.experiments.run import Run, claim_results, prepare
from cropkt.experiments.sources.pan_cancer import train_pan_cancer_networks
from cropkt.experiments.sources.trainer import train_jobs
from cropkt.experiments.sources.worker import CohortJob
from cropkt.experiments.tracking.sweep import tracking
from cropkt.experiments.workspace import workspace
from cropkt.models.checkpoint import card_path, why_no_model
from cropkt.training.cards import read_source_card
from cropkt.training.config import PAN_CANCER
from cropkt.training.sources import missing_folds, store_null_model


def train_sources(config: RunConfig) -> int:
    """Train the selected source models that are missing; returns the exit code. Logs them to MLflow."""
    with session(config.cluster) as cluster:
        run = prepare(config, cluster)
        with workspace(run.results) as scratch:
            claim_results(run)
            failures = train_missing_sources(run, cluster, scratch)
            if PAN_CANCER in run.baselines:
                lacking = train_pan_cancer_networks(run, cluster, scratch / "pan_cancer")
                failures |= {f"pan-cancer networks of {target}": reason for target, reason in lacking.items()}
            for number in range(1, run.config.repeats):
                of_repeat = train_missing_sources(run.repeated(number), cluster, scratch / f"repeat_{number}")
                failures |= {f"{cohort}, repeat {number}": reason for cohort, reason in of_repeat.items()}
            with tracking(run.results, run.experiment, config.tracking) as tracker:
                if tracker is not None:
                    tracker.log_sources()
    _print_own_c_indices(run)
    for cohort, reason in failures.items():
        print(f"failed: {cohort}: {reason}")
    return SOME_FAILED if failures else DONE


def _print_own_c_indices(run: Run) -> None:
    print(f"{'cohort':10s} {'models':>6s}  C-index on the matching test fold: mean (folds)")
    for code in run.sources:
        cards = [read_source_card(run.plan.model_path(code, fold)) for fold in run.folds]
        values = [card.test_c_index for card in cards if card is not None]
        known = [value for value in values if value is not None]
        mean = f"{sum(known) / len(known):.3f}" if known else "none"
        print(f"{code:10s} {len(values):6d}  {mean} ({' '.join('-' if v is None else f'{v:.2f}' for v in values)})")
    print(f"models: {run.plan.folder}")


def train_missing_sources(run: Run, cluster: Cluster, scratch: Path) -> dict[str, str]:
    """Train, with Ray Train, the run's source models that are missing (all of them with `--no-resume`).

    `scratch` is a folder that every node sees, for Ray's checkpoints. Prints the slides that were left out. Returns
    the cohorts that could not be trained, with the reason. Raises CheckpointError when the folder's models were made
    with other settings.
    """
    plan = run.plan
    store_null_model(plan)
    jobs = _jobs(run)
    failures = train_jobs(plan, jobs, cluster, scratch, title="training sources", unit="models")
    for job in jobs:
        if job.name not in failures:
            card = read_source_card(plan.model_path(job.cohort.code, job.folds[0]))
            if card is not None and card.skipped_slides:
                print(f"warning: source {job.cohort.code}: slides left out: {', '.join(card.skipped_slides)}")
    return failures


def _jobs(run: Run) -> list[CohortJob]:
    """The missing models of each source cohort."""
    plan, jobs, damaged = run.plan, [], []
    for code in run.sources:
        if not run.config.resume:
            for fold in run.folds:
                card_path(plan.model_path(code, fold)).unlink(missing_ok=True)
        wanted = missing_folds(plan, run.cohorts[code], run.folds)
        damaged += [f"{code}, fold {fold} ({why})" for fold in wanted if (why := _damage(plan.model_path(code, fold)))]
        if wanted:
            jobs.append(CohortJob(run.cohorts[code], tuple(wanted)))
    if damaged:
        print(f"warning: {len(damaged)} damaged models are trained again: {', '.join(damaged[:6])}")
    return jobs


def _damage(weights: Path) -> str:
    """What is wrong with a model of which there is something; "" for a whole one, and where there is nothing."""
    if not (weights.exists() or card_path(weights).exists()):
        return ""
    return why_no_model(weights) or ("" if read_source_card(weights) is not None else "its card is damaged")
