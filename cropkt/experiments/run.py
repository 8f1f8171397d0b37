"""What a run is about, settled and checked before anything expensive starts, and handed whole to everything after."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cropkt.data.study import Cohort, Study, open_study
from cropkt.errors import ConfigError
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.config import DEMO_STUDY, RunConfig, StudyConfig
from cropkt.experiments.journal import note
from cropkt.front.doctor import in_short
from cropkt.models.mil import Architecture
from cropkt.survival.losses import LOSSES
from cropkt.training.sources import SourcePlan, missing_folds, source_fingerprint
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.measure_baseline import baseline_fingerprint
from cropkt.transfer.pair import pair_fingerprint
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class Run:
    """One run. Ray stores it once for all trials.

    `sources` and `targets` are codes, `folds` those of the source models; `plan` says how these are made.
    """

    config: RunConfig
    study: Study
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    folds: tuple[int, ...]
    plan: SourcePlan
    results: ResultsFolder

    @property
    def cohorts(self) -> dict[str, Cohort]:
        """The study's cohorts, by code."""
        return self.study.cohorts

    @property
    def experiment(self) -> str:
        """The MLflow experiment."""
        return self.config.tracking.experiment or self.study.name

    def pairs(self) -> list[tuple[str, str]]:
        """(source or baseline, target), target by target, so that a worker keeps a target resident."""
        sources = (*self.sources, *(BASELINES if self.config.pairs.baselines else ()))
        return [(source, target) for target in self.targets for source in sources]

    def fingerprint(self, source: str, target: str) -> str | None:
        """Changes whenever anything changes that decides what the pair, or the baseline `source`, measures; None when
        the study does not have its cohorts."""
        if not {source, target} <= {*self.cohorts, *BASELINES}:
            return None
        plan, cohort = self.plan, self.cohorts[target]
        if source in BASELINES:
            return baseline_fingerprint(source, cohort, plan)
        return pair_fingerprint(source_fingerprint(plan, self.cohorts[source], self.folds), cohort, plan.precision)

    def untrained(self) -> list[str]:
        """Sources that lack a model, or have one that would be trained differently today."""
        return [code for code in self.sources if missing_folds(self.plan, self.cohorts[code], self.folds)]

    def settings(self) -> dict[str, str]:
        """What MLflow and the report say the run was made with."""
        return {
            "study": self.study.name,
            "encoder": self.results.encoder,
            "architecture": self.results.architecture,
            "protocol": self.config.protocol,
            "precision": self.plan.precision,
            "seed": str(self.plan.seed),
            **{name: str(value) for name, value in asdict(self.plan.training).items()},
        }


def prepare(config: RunConfig, cluster: Cluster) -> Run:
    """Open and check the study, and settle what `config` asks of it. Simulates the demo study on first use.

    Prints the short form of `cropkt check`. Raises StudyError with everything that is wrong with the study,
    ConfigError for selections it cannot meet.
    """
    study = _opened(config.study)
    training = replace(config.training, drop_partial_update=config.protocol == "paper")
    architecture = Architecture(
        features=study.encoder.dim,
        name=config.study.architecture,
        intervals=LOSSES[training.loss].intervals,
    )
    folds = _folds(config.pairs.folds, study)
    sources = _known("--sources", config.pairs.sources, study)
    targets = _known("--targets", config.pairs.targets, study)
    out = config.study.out or Path("runs") / study.name
    results = ResultsFolder(out.resolve(), study.encoder.name, config.study.architecture)
    plan = SourcePlan(
        folder=results.models.path,
        architecture=architecture,
        training=training,
        seed=config.seed,
        precision=cluster.precision,
        device=cluster.device,
        strict=config.strict,
    )
    note(
        study=study.name,
        study_digest=study.fingerprint,
        seed=config.seed,
        device=plan.device,
        precision=plan.precision,
    )
    print("\n".join(in_short(study)))
    return Run(config, study, sources, targets, folds, plan, results)


def _opened(wanted: StudyConfig) -> Study:
    folder = wanted.folder
    if folder is None:
        folder = DEMO_STUDY
        if not (folder / "study.yaml").exists():
            from cropkt.simulation.study import SimulationConfig, simulate_study

            simulate_study(folder, SimulationConfig())
    # Workers run elsewhere, in other working folders.
    return open_study(folder.resolve(), encoder=wanted.encoder)


def _folds(wanted: tuple[int, ...], study: Study) -> tuple[int, ...]:
    count = len(next(iter(study.cohorts.values())).folds)
    for fold in wanted:
        if fold >= count:
            raise ConfigError(f"--folds names fold {fold}; study {study.name} has folds 0 to {count - 1}")
    return wanted or tuple(range(count))


def _known(flag: str, codes: Sequence[str], study: Study) -> tuple[str, ...]:
    unknown = [code for code in codes if code not in study.cohorts]
    if unknown:
        raise ConfigError(
            f"{flag}: study {study.name} has no cohort {', '.join(unknown)}; it has {', '.join(study.cohorts)}"
        )
    return tuple(code for code in study.cohorts if not codes or code in codes)
