"""The list of mutations keeps step with the code: each one's text is there, once, and so are its tests."""

import ast

import pytest
from mutation import ROOT, Mutation
from wiring import MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_the_code_and_names_tests_that_exist(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text()
    mutated = mutation.applied_to(text)
    assert mutated != text
    ast.parse(mutated)
    for test in mutation.tests:
        path, _, function = test.partition("::")
        assert f"def {function}" in (ROOT / path).read_text()


def test_names_are_unique_and_every_mutation_says_why_it_matters() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
    assert all(mutation.why and mutation.tests for mutation in MUTATIONS)


@pytest.mark.parametrize("text", ["nothing of the kind", "x = 1  # twice: x = 1"])
def test_a_mutation_that_does_not_fit_says_so(text: str) -> None:
    mutation = Mutation("name", "file.py", "x = 1", "x = 2", ("tests/test.py",), "why")
    with pytest.raises(ValueError, match="mutation name: its old text is there"):
        mutation.applied_to(text)
