"""What a run is about, settled and checked before anything expensive starts, and handed whole to everything after."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cropkt.borrowing.lenders import lender_codes
from cropkt.data.packs.read import require_same_numbers
from cropkt.data.streams.memory import size_in_words
from cropkt.data.streams.stream import resident_bytes
from cropkt.data.study import Cohort, Study, open_study
from cropkt.errors import ConfigError
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.config import DEMO_STUDY, RunConfig, StudyConfig
from cropkt.experiments.journal import note
from cropkt.front.doctor import in_short
from cropkt.models.mil import Architecture
from cropkt.models.precision import torch_dtype
from cropkt.seeds import named_seed
from cropkt.survival.losses import LOSSES
from cropkt.training.config import PAN_CANCER
from cropkt.training.pan_cancer_models import PanCancerPlan
from cropkt.training.sources import SourcePlan, missing_folds, source_fingerprint
from cropkt.transfer.baselines import BASELINES, Role
from cropkt.transfer.current import claim, study_folder, what_changed
from cropkt.transfer.judgement.repeats import Repeat, repeat_folder, stored_repeats
from cropkt.transfer.measure_baseline import baseline_fingerprint
from cropkt.transfer.pair import pair_fingerprint
from cropkt.transfer.significance import trained_on_target
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
        return [(source, target) for target in self.targets for source in (*self.sources, *self.baselines)]

    @property
    def baselines(self) -> tuple[str, ...]:
        """The baselines that are asked for, sources that are no cohort among them."""
        wanted = self.config.pairs
        return tuple(
            baseline.name
            for baseline in BASELINES.records()
            if (wanted.pan_cancer if baseline.role == Role.SOURCE else wanted.baselines)
        )

    def pan_cancer(self, *left_out: str, among: Sequence[str] = ()) -> PanCancerPlan:
        """The pan-cancer networks that leave out the targets `left_out`: who may lend to each of them trains them, of
        the cohorts `among` (all of the study's by default)."""
        everyone = self._lend_to_all(left_out, tuple(self.cohorts))
        lenders = self._lend_to_all(left_out, among) if among else everyone
        cohorts = tuple(self.cohorts[code] for code in lenders)
        return PanCancerPlan(self.plan, left_out, cohorts, some=lenders != everyone)

    def _lend_to_all(self, targets: Sequence[str], among: Sequence[str]) -> list[str]:
        allowed = [set(lender_codes(self.cohorts, target, among)) for target in targets]
        return [code for code in among if all(code in codes for codes in allowed)]

    def fingerprint(self, source: str, target: str) -> str | None:
        """Changes whenever anything changes that decides what the pair, or the baseline `source`, measures; None when
        the study does not have its cohorts."""
        if not {source, target} <= {*self.cohorts, *BASELINES}:
            return None
        plan, cohort = self.plan, self.cohorts[target]
        if source == PAN_CANCER:
            return pair_fingerprint(self.pan_cancer(target).fingerprint, cohort, plan.precision)
        if source in BASELINES:
            return baseline_fingerprint(source, cohort, plan)
        return pair_fingerprint(source_fingerprint(plan, self.cohorts[source], self.folds), cohort, plan.precision)

    def repeated(self, number: int) -> "Run":
        """Repeat `number` (1 or more) of what cohorts train on their own patients, as a run of its own: other splits,
        starts and seeds, and a results folder below this one's."""
        seed = named_seed(self.plan.seed, "repeat", number) % 2**31
        by_site = self.study.settings.splits_by_site
        cohorts = {code: cohort.split_again(seed, by_site=by_site) for code, cohort in self.cohorts.items()}
        results = repeat_folder(self.results, number)
        plan = replace(self.plan, folder=results.models.path, seed=seed)
        own = tuple(code for code in self.sources if code in self.targets)
        return replace(self, study=replace(self.study, cohorts=cohorts), sources=own, plan=plan, results=results)

    def own_pairs(self) -> list[tuple[str, str]]:
        """Those of `pairs` whose models are trained on the target, which is what a repeat measures."""
        return [(source, target) for source, target in self.pairs() if source in (target, *trained_on_target())]

    def repeats(self) -> list[Repeat]:
        """Further cross-validations: those that are asked for, and those that are there."""
        runs = [
            self.repeated(number) for number in sorted({*range(1, self.config.repeats), *stored_repeats(self.results)})
        ]
        folds = [{code: cohort.folds for code, cohort in run.cohorts.items()} for run in runs]
        return [Repeat(run.results, of_run, run.fingerprint) for run, of_run in zip(runs, folds, strict=True)]

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
            "repeats": str(self.config.repeats),
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
        memory=cluster.memory,
    )
    for code in {*sources, *targets}:
        require_same_numbers(list(study.cohorts[code].slides["path"]), torch_dtype(plan.precision))
    note(
        study=study.name,
        study_digest=study.fingerprint,
        seed=config.seed,
        device=plan.device,
        precision=plan.precision,
    )
    print("\n".join(in_short(study)))
    run = Run(config, study, sources, targets, folds, plan, results)
    if line := memory_told(run):
        print(line)
    return run


def not_held(run: Run, codes: Sequence[str]) -> list[str]:
    """Those cohorts of `codes` that do not fit in a worker's part of --memory."""
    return [code for code in codes if not run.plan.holds(run.cohorts[code])]


def memory_told(run: Run) -> str:
    """One line on the cohorts that do not fit in a worker's part of --memory, and what becomes of them; "" if none."""
    large, memory = not_held(run, [*dict.fromkeys((*run.sources, *run.targets))]), run.plan.memory
    if not large or memory is None:
        return ""
    most = max(resident_bytes(run.cohorts[code], torch_dtype(run.plan.precision)) for code in large)
    room = f"{size_in_words(memory)} of patches a worker (--memory): {', '.join(large)} do not fit"
    copied = f"copied to {run.plan.folder}, {size_in_words(most)} at most"
    if run.plan.device == "cpu":
        return f"{room}; to train and route on, they are {copied}"
    return f"{room}; to train, they are {copied}, and sent batch by batch; to route on, they have to fit"


def claim_results(run: Run) -> None:
    """Make the results folder the study's, and say what of the study has changed since the last run into it.

    Raises ConfigError when it holds results of another study.
    """
    claim(run.results.out, run.study)
    for line in what_changed(run.results.out, run.study):
        print(f"changed: {line}; what was made from it is made again")


def _opened(wanted: StudyConfig) -> Study:
    folder = wanted.folder or (wanted.out and study_folder(wanted.out))
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
