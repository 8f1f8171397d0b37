"""Search spaces are data, and checked before anything starts."""

from pathlib import Path

import pytest

from cropkt.errors import ConfigError
from cropkt.experiments.routing.space import KINDS, SPACES, known_settings, read_space


def space(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return path


def test_every_kind_has_a_valid_space_and_no_other_file_lies_there() -> None:
    assert {path.stem for path in SPACES.glob("*.yaml")} == set(KINDS)
    for kind in KINDS:
        found = read_space(kind)
        assert found.kind == kind
        assert "learning_rate" in found.dimensions
        assert len(found.distributions()) == len(found.dimensions)


def test_a_space_becomes_what_optuna_draws_from(tmp_path: Path) -> None:
    lines = ["learning_rate: {low: 1.0e-5, high: 0.01, scale: log}", "top_k: {low: 1, high: 6}"]
    text = "\n".join([*lines, "expert_network: {choices: [mlp]}"])
    found = read_space("router", space(tmp_path, text)).distributions()
    assert found["learning_rate"].log
    assert (found["learning_rate"].low, found["learning_rate"].high) == (1e-5, 0.01)
    assert type(found["top_k"]).__name__ == "IntDistribution"
    assert found["expert_network"].choices == ("mlp",)
    whole = read_space("router", space(tmp_path, "temperature: {low: 1, high: 4}")).distributions()["temperature"]
    assert type(whole).__name__ == "FloatDistribution", "bounds that are whole numbers do not make a temperature one"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("learning_rat: {low: 1.0e-4, high: 1.0e-3}", "learning_rat: no such setting; did you mean 'learning_rate'?"),
        ("topk: {choices: [1, 2]}", "did you mean 'top_k'?"),
        ("fusion: {choices: [mean]}", "no such setting"),  # a setting of another kind
        ("features: {choices: [5]}", "no such setting"),  # given by the study
        ("top_k: {choice: [1, 2]}", "did you mean 'choices'?"),
        ("top_k: {choices: 3}", "choices must be a list"),
        ("top_k: 3", "is no range"),
        ("top_k: {choices: [0, 1]}", "top_k is 0; it must be 1 or more"),
        ("top_k: {low: 1.5, high: 3}", "1.5 is not of the kind of 5"),
        ("dropout: {low: 0.0, high: 1.0}", "dropout is 1.0"),
        ("learning_rate: {low: 0.0, high: 1.0, scale: log}", "above 0"),
        ("learning_rate: {low: 1.0, high: 0.5}", "low must be below high"),
        ("learning_rate: {low: 1e-4, high: 1.0e-3}", "1.0e-4, not 1e-4"),  # YAML reads 1e-4 as text
        ("expert_network: {choices: [mpl]}", "'mpl' is unknown; did you mean 'mlp'? choose one of mlp, identity"),
        ("[1, 2]", "names no setting"),
        ("learning_rate: {low: 1", "is not YAML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match="search space") as caught:
        read_space("router", space(tmp_path, line))
    assert said in str(caught.value)
    assert "space.yaml" in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_space("router", space(tmp_path, "topk: {choices: [1]}\ndropot: {choices: [0.1]}"))
    assert "topk" in str(caught.value)
    assert "dropot" in str(caught.value)


def test_documented_settings_are_those_of_the_code() -> None:
    assert {"top_k", "temperature", "epochs"} <= set(known_settings("router"))
    assert "features" not in known_settings("abmil")
