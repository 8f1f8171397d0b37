"""The benchmark compares like with like, counts right, and its command writes what it promises."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cropkt.benchmark import speed
from cropkt.benchmark.clock import by_turns
from cropkt.benchmark.extrapolation import extrapolate
from cropkt.benchmark.growth import slope
from cropkt.benchmark.settings import BenchmarkSettings, FullStudy, settings_for
from cropkt.benchmark.speed import Machine, Speed, new_models, operations, plain_models, read, read_packed, write_slides
from cropkt.benchmark.straightforward import read_slide, score_slides, train_model
from cropkt.experiments.commands import benchmark as command
from cropkt.models.predict import predict
from cropkt.survival.losses import LOSSES

TINY = BenchmarkSettings(
    "cpu", features=6, lengths=(5, 9), slides=3, models=2, plain_models=2, folds=2, rounds=1, growth_patches=3
)


def test_the_straightforward_loop_scores_as_we_do(tmp_path: Path) -> None:
    slides, models = write_slides(tmp_path, 7, TINY), new_models(2, TINY, "float32")
    logits = score_slides(plain_models(models), slides.paths, "cpu")
    found = predict(models, read(slides, TINY, "float32"))
    _, risk = LOSSES["discrete_nll"].hazard_and_risk(logits)
    np.testing.assert_allclose(found.risk, risk.numpy(), atol=1e-5)
    assert len(np.unique(found.risk)) == 6


def test_the_straightforward_loop_learns(tmp_path: Path) -> None:
    slides = write_slides(tmp_path, 7, TINY)
    (model,) = plain_models(new_models(1, TINY, "float32"))
    targets = slides.targets
    losses = train_model(model, slides.paths, targets.interval, targets.event, epochs=40, update=2, device="cpu")
    assert len(losses) == 80
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_slides_are_as_extracted(tmp_path: Path) -> None:
    slides = write_slides(tmp_path, 7, TINY)
    bags = read(slides, TINY, "float32")
    assert torch.equal(bags.features[7:14], read_slide(slides.paths[1], "cpu"))


def test_operations_are_those_of_the_layers() -> None:
    """Counted by torch itself on a pass forward and back; what is left out is softmax, pooling and head."""
    from torch.utils.flop_counter import FlopCounterMode

    (model,) = new_models(1, replace(TINY, features=64), "float32")
    patches, offsets = torch.randn(200, 64), torch.tensor([0, 200])
    with FlopCounterMode(display=False) as scoring:
        logits = model(patches, offsets).logits
    with FlopCounterMode(display=False) as training:
        model(patches, offsets).logits.sum().backward()
    assert logits.shape == (1, 32)
    assert scoring.get_total_flops() == pytest.approx(operations(200, 64, training=False), rel=0.01)
    assert training.get_total_flops() == pytest.approx(operations(200, 64, training=True), rel=0.01)


def test_works_take_turns_after_a_round_that_does_not_count() -> None:
    done: list[str] = []
    found = by_turns({name: lambda name=name: done.append(name) for name in "ab"}, 2, "cpu")
    assert done == list("ababab")
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}


def test_a_slope_is_the_power() -> None:
    assert slope((1, 2, 4), (3.0, 6.0, 12.0)) == pytest.approx(1)
    assert slope((1, 2, 4), (3.0, 12.0, 48.0)) == pytest.approx(2)


def test_the_full_study_is_patches_times_seconds() -> None:
    """1,000 patches in 10 slides; 2 cohorts x 5 folds score, 5 folds learn 3 epochs on .8 of them."""
    study = FullStudy(slides=10, patches=1000, cohorts=2, folds=5, epochs=3, training_share=0.8)
    speeds = [
        Speed("scoring", "float32", 50, plain=72, ours=36, speed_up=2, share=1),
        Speed("training", "float32", 50, plain=360, ours=180, speed_up=2, share=1),
        Speed("scoring", "float32", 10, plain=1, ours=1, speed_up=1, share=1),
    ]
    found = extrapolate(speeds, Machine({"float32": 1}, read=1, read_packed=4), TINY, "float32", study)
    assert found.scoring == pytest.approx(36 * 20 * 10 / 3600)
    assert found.training == pytest.approx(180 * 20 * 0.8 * 15 / 3600)
    assert found.plain_training == pytest.approx(2 * found.training)
    assert found.reading == pytest.approx(1000 * 6 * 4 / 1e6 / 3600)
    assert found.reading_packed == pytest.approx(found.reading / 2 / 4)
    assert found.whole == pytest.approx(2 * found.reading + found.training + found.scoring)
    assert found.whole_packed == pytest.approx(found.reading_packed + found.training + found.scoring)


def test_a_sweep_that_waits_for_the_disk_takes_as_long_as_it_reads() -> None:
    study = FullStudy(slides=10, patches=1000, cohorts=2, folds=5, epochs=3, training_share=0.8)
    speeds = [Speed(work, "float32", 50, plain=1, ours=1e-6, speed_up=2, share=1) for work in ("scoring", "training")]
    found = extrapolate(speeds, Machine({"float32": 1}, read=1, read_packed=4), TINY, "float32", study)
    assert found.whole == pytest.approx(3 * found.reading + found.training)
    assert found.whole_packed == pytest.approx(2 * found.reading_packed + found.training)


def test_a_pack_holds_the_same_patches(tmp_path: Path) -> None:
    slides = write_slides(tmp_path, 7, TINY)
    assert torch.equal(read_packed(slides, TINY), read(slides, TINY, "float32").features.bfloat16())


def test_shares_and_speed_ups_are_taken_within_a_round() -> None:
    found = speed._speed("scoring", "float32", 5, np.array([2.0, 40.0]), np.array([1.0, 10.0]), np.array([0.5, 5.0]))
    assert (found.speed_up, found.share) == (3, 0.5)


def test_the_command_writes_json_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cropkt.benchmark.settings.settings_for", lambda *_, **__: TINY)
    assert command.main(["--out", str(tmp_path), "--device", "cpu", "--no-ray"]) == 0
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert [(one["work"], one["precision"], one["patches"]) for one in found["speeds"]] == [
        (work, precision, patches)
        for patches in (5, 9)
        for work in ("scoring", "training")
        for precision in ("float32", "bfloat16")
    ]
    assert all(one["ours"] > 0 and one["plain"] > 0 and one["share"] > 0 for one in found["speeds"])
    assert {(one["work"], one["axis"]) for one in found["growth"]} >= {("scoring", "sources"), ("training", "patches")}
    assert found["full_study"]["assumptions"]
    assert found["trials"] is None
    assert {path.suffix for path in tmp_path.glob("benchmark.*")} == {".json", ".png", ".pdf", ".svg"}
    assert "full study" in capsys.readouterr().out


def test_impossible_numbers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err


def test_every_device_has_its_size() -> None:
    cpu, cuda, quick = (
        settings_for("cpu", quick=False, seed=1),
        settings_for("cuda", quick=False, seed=1),
        settings_for("cpu", quick=True, seed=1),
    )
    assert cpu.features == cuda.features == quick.features == 1536
    assert max(quick.lengths) < max(cpu.lengths) < max(cuda.lengths)
