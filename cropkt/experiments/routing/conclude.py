"""What a routing run leaves for people: a table, pictures, the report's section, a run in MLflow for each target."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cropkt.experiments.routing.config import SearchConfig
from cropkt.experiments.routing.job import RoutingOutcome, TrialRecord, settings_shown
from cropkt.experiments.routing.pictures import draw_search, importances, trial_table
from cropkt.experiments.routing.search import best_trial, default_values
from cropkt.experiments.routing.space import SearchSpace
from cropkt.experiments.tracking.analysis import Analysis, log_analysis
from cropkt.experiments.tracking.store import is_number
from cropkt.files import atomic_path, is_temporary
from cropkt.report.page import remake_report
from cropkt.report.sections.routing import draw_routing, section_body
from cropkt.report.sections.store import store_section
from cropkt.report.style import save_figure
from cropkt.routing.store import NAMES, RoutingFolder
from cropkt.transfer.rows import PATIENTS_ONLY, ROUTING, TRAINING_TOO
from cropkt.transfer.store import ResultsFolder


def conclude(outcome: RoutingOutcome, search: SearchConfig, spaces: Mapping[str, SearchSpace]) -> None:
    """Draw, write the report's section and the report, and log; what cannot be logged is said."""
    if outcome.methods.empty:
        return
    run = outcome.job.run
    results = run.results
    pairs = results.pairs()
    targets = list(outcome.methods["target"].unique())
    for target in targets:
        _draw(outcome, target, pairs, spaces)
    report = _report(results, pairs)
    if not run.config.tracking.wanted:
        return
    problems = {_log(outcome, search, target, spaces, report) for target in targets} - {""}
    if problems:
        print(f"warning: MLflow could not be used ({problems.pop()}); all results are in {results.out}")


def print_table(methods: pd.DataFrame) -> None:
    """Method, mean and pooled C-index with interval, difference to the own model with p; a block a target."""
    for target, rows in methods.groupby("target", sort=False):
        print(f"\n{target}: C-index on test patients, {rows['n_events'].iloc[0]} events, {rows['folds'].iloc[0]} folds")
        width = max(map(len, NAMES.values()))
        print(f"{'method':{width}s}  mean   pooled [95 % interval]   to own model   p")
        for row in rows.to_dict("records"):
            name = NAMES[row["method"]] + (" *" if row["tuned"] else "")
            interval = f"[{row['interval_lower']:.3f}, {row['interval_upper']:.3f}]"
            against = "" if row["method"] == "self" else f"{row['difference_self']:+.3f}         {row['p_self']:.3f}"
            measured = f"{row['c_index_mean']:.3f}  {row['c_index_pooled']:.3f}  {interval}"
            print(f"{name:{width}s}  {measured}   {against}".rstrip())
        if rows["tuned"].any():
            print("* settings chosen on inner splits of each fold's training patients")
        print(_covered(rows))


def _covered(rows: pd.DataFrame) -> str:
    """Which chance the intervals and p-values of a target cover."""
    once = rows["error_covers"] == PATIENTS_ONLY
    if not once.any():
        return f"intervals and p cover the chance of {TRAINING_TOO}"
    which = "" if once.all() else f" of {', '.join(NAMES[method] for method in rows.loc[once, 'method'])}"
    return (
        f"intervals and p{which} cover the chance of {PATIENTS_ONLY} only: all but single sources were trained on this "
        "cohort (--repeats 3 covers the luck of training)"
    )


def _of(table: pd.DataFrame, target: str) -> pd.DataFrame:
    return table[table["target"] == target]


def _draw(outcome: RoutingOutcome, target: str, pairs: pd.DataFrame, spaces: Mapping[str, SearchSpace]) -> None:
    folder = outcome.job.folder(target).path
    figure = draw_routing(target, _of(outcome.methods, target), _of(outcome.gates, target), _of(pairs, target))
    save_figure(folder / "routing.png", figure)
    for kind, space in spaces.items():
        table = trial_table(_trials(outcome, kind, target), default_values(outcome.job, space))
        if table.empty:
            continue
        with atomic_path(folder / f"search_{kind}.csv") as temporary:
            table.to_csv(temporary, index=False)
        draw_search(folder / f"search_{kind}.png", target, table, space)


def _trials(outcome: RoutingOutcome, kind: str, target: str) -> dict[int, list[TrialRecord]]:
    units = sorted(unit for unit in outcome.trials if unit[:2] == (kind, target))
    return {unit[2]: outcome.trials[unit] for unit in units}


def _complete_score(trial: TrialRecord) -> float:
    return trial.score if trial.state == "complete" and trial.score is not None else float("nan")


def _report(results: ResultsFolder, pairs: pd.DataFrame) -> Path:
    """The section covers every target that has been routed, today or earlier."""
    methods, gates = results.routing(), results.gates()
    pictures = {}
    for target in methods["target"].unique():
        path = RoutingFolder(results, target).path / "routing.png"
        if path.exists():
            pictures[target] = path
    store_section(results, "routing", "Routing", section_body(methods, gates, pairs, pictures))
    return remake_report(results)


def _log(
    outcome: RoutingOutcome, search: SearchConfig, target: str, spaces: Mapping[str, SearchSpace], report: Path
) -> str:
    run, folder = outcome.job.run, outcome.job.folder(target)
    parameters: dict[str, Any] = {
        "target": target,
        "encoder": run.results.encoder,
        "architecture": run.results.architecture,
        **settings_shown(outcome.job, search),
    }
    metrics: dict[str, float] = {}
    histories: dict[str, list[float]] = {}
    for row in _of(outcome.methods, target).to_dict("records"):
        known = [name for name in ROUTING.numbers if is_number(row[name])]
        metrics |= {f"{name}/{row['method']}": float(row[name]) for name in known}
    for kind, space in spaces.items():
        trials = _trials(outcome, kind, target)
        table = trial_table(trials, default_values(outcome.job, space))
        if table.empty:
            continue
        metrics |= {f"importance/{kind}/{name}": share for name, share in importances(table, space).items()}
        for fold, of_fold in trials.items():
            best = best_trial(of_fold)
            parameters[f"best_{kind}_fold_{fold}"] = dict(best.values) or "the default" if best else "none"
            complete = [_complete_score(trial) for trial in of_fold]
            histories[f"inner_c_index/{kind}/fold_{fold}"] = complete
    files = [path for path in sorted(folder.path.glob("*.*")) if path.is_file()]
    files += [path for name in ("router", "folds") for path in sorted((folder.path / name).glob("fold_*"))]
    files = [path for path in files if not is_temporary(path)]
    entry = Analysis("routing", f"router for {target}", parameters, metrics, histories, (*files, report))
    return log_analysis(run.results, run.study.name, run.config.tracking, entry)
