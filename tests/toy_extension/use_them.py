# ruff: noqa: E402
"""Run by test_extending.py in a process of its own, as a worker would: sees, trains and measures every toy."""

import sys
from pathlib import Path

folder = Path(sys.argv[1])

from cropkt.experiments.config import RunConfig, command_line

text = " ".join(command_line(RunConfig, "toys").format_help().split())
assert "toy_first (first patch only)" in text, text
assert "toy_exponential (constant hazard)" in text
assert "few patches, toy" in text
assert "torch" not in sys.modules, "help is quick whoever brings a record"

import numpy as np
import torch
from small_studies import DIM, small_plan, write_study

from cropkt.data.bags import read_bags
from cropkt.data.study import open_study
from cropkt.models.mil import Architecture
from cropkt.survival.losses import LOSSES
from cropkt.training.sources import SourcePlan, load_source_models, store_null_model, train_cohort
from cropkt.transfer.measure_baseline import measure_baseline
from cropkt.transfer.pair import hold_target, measure_pair

study = open_study(write_study(folder / "study", "acc", "uvm").folder)
acc, uvm = study.cohorts["acc"], study.cohorts["uvm"]
toy = small_plan(folder / "models", loss="toy_exponential", epochs=8)
architecture = Architecture(DIM, "toy_first", embedding=8, intervals=LOSSES["toy_exponential"].intervals)
toy = SourcePlan(toy.folder, architecture, toy.training, seed=7)
store_null_model(toy)
cards = train_cohort(toy, acc, [0, 1, 2])
assert all(np.mean(card.losses[-3:]) < np.mean(card.losses[:3]) for card in cards), "it learns"
models = load_source_models(toy, "acc", [0, 1, 2])
assert {model.reading().loss for model in models.models} == {"toy_exponential"}
held = hold_target(uvm, read_bags(uvm))
pair = measure_pair(models, held).pair
assert (pair.architecture, pair.status) == ("toy_first", "ok"), pair
row = measure_baseline("toy_few_patches", held, toy).pair
assert (row.mode, row.status) == ("toy_few_patches", "ok"), row

from cropkt.routing.methods import RoutingSettings, default_recipe, fit_method
from cropkt.routing.nested import outer_fold
from cropkt.routing.store import NAMES

assert NAMES["fusion_toy_max"] == "largest of all vectors"
settings = RoutingSettings(training=toy.training)
outer = outer_fold(held, 0, 2, 7)
vectors = torch.randn(len(held.bags), 3, 8, generator=torch.Generator().manual_seed(0))
recipe = default_recipe("fusion_toy_max", settings, toy)
_, found = fit_method("fusion_toy_max", recipe, toy, held, outer, vectors)
assert np.isfinite(found.risk).all()
assert len(found.risk) == len(outer.test)

from cropkt.factors.catalogue import PAIR_FACTORS, label_of
from cropkt.factors.facts.distances import DISTANCES
from cropkt.factors.facts.points import CohortPoints

assert {"toy_means_patches", "toy_means_patients"} <= {factor.name for factor in PAIR_FACTORS}
assert label_of("toy_means_patches") == "distance of means, toy, patches"
points = CohortPoints((np.zeros((6, 2)), np.eye(6, 2) + 4), (np.arange(6),) * 2, seed=0, components=2)
assert DISTANCES["toy_means"].measure(points).value[0, 1] > 20

from made_up_results import write_results

from cropkt.report.page import write_report
from cropkt.report.payload import build_payload
from cropkt.report.read import read_tables
from cropkt.report.sections.store import store_section

results = write_results(folder / "out", ["acc", "uvm"], patients=20)
payload = build_payload(read_tables(results), results)
assert payload["labels"]["toy_few_patches"] == "few patches, toy"
assert "toy_few_patches" in payload["baselines"]["acc"]
store_section(results, "toy", "A toy analysis", "<p>Nothing was found.</p>")
page = write_report(results, study_name="made up", settings={}).read_text()
assert '<section id="toy"' in page
assert '<a href="#toy">A toy analysis</a>' in page
assert "Few patches, toy</em> (trained on nothing): fewer patches are worse" in page
print("all toys were used")
